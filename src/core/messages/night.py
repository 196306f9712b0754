"""Nobody is woken by what became late: at night, claimed messages that respect quiet hours go back until the morning.

Their hour was found when they were handed in, and a backlog, another try or a fallback may have come in between.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from core.access.zones import TenantZones
from core.messages.addresses import known_address
from core.messages.claim import Claimed
from core.messages.quiet import calm_moment
from core.quiet_hours import QuietHours
from core.sealing import SealBroken, Sealer


@dataclass(frozen=True, slots=True)
class Night:
    """Tells who sleeps."""

    sealer: Sealer
    zones: TenantZones
    quiet_hours: QuietHours

    async def waits(self, claimed: Sequence[Claimed]) -> list[float]:
        """In how many seconds each may go out, by the database's clock; 0 where it may now. Raises Overloaded."""
        return [await self._wait(one) if one.respects_quiet_hours else 0.0 for one in claimed]

    async def _wait(self, one: Claimed) -> float:
        tenant, row = one.key
        try:
            address = known_address(self.sealer.open(one.to_sealed, tenant=tenant, row=row, column="to"))
        except SealBroken:
            # It goes nowhere: whoever is about to send it says why.
            return 0.0
        calm = calm_moment(one.claimed_at, address, await self.zones.of(tenant), self.quiet_hours)
        return (calm - one.claimed_at).total_seconds()
