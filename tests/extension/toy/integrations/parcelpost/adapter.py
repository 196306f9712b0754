"""Calls the carrier, which exists in tests only: it answers at once that the depot is closed."""

from collections.abc import Sequence

from core.ports import Finding, Severity
from core.ports.calls import ProviderCalls


class ParcelPostProbe:
    """Asks whether our depot is open."""

    def __init__(self, calls: ProviderCalls, depot: str) -> None:
        self._calls = calls
        self._depot = depot

    async def check(self) -> Sequence[Finding]:
        if await self._calls.call("probe", self._is_open):
            return []
        detail = f"The depot {self._depot} is closed."
        return [Finding("PARCELPOST_DEPOT_CLOSED", Severity.WARNING, detail, "Open the depot.")]

    async def _is_open(self) -> bool:
        return False
