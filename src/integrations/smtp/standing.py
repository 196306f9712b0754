"""How the first of two servers is doing: after some failures in a row it is left aside, for longer each time."""

import time
from collections.abc import Callable

import structlog

from core.errors import ProviderError

log = structlog.get_logger(__name__)

ENOUGH = 3
"""Failures in a row after which the first server is left aside."""
PAUSE, LONGEST_PAUSE = 30.0, 600.0
"""Seconds it is left aside at first, and at most."""


class Standing:
    """What this process has seen of the first server; `failures` are those since it last took or judged a mail."""

    def __init__(self, *, now: Callable[[], float] = time.monotonic) -> None:
        self.failures = 0
        self._now = now
        self._pauses = 0
        self._until = 0.0

    def goes_first(self) -> bool:
        """Whether the next mail is the first server's. At the end of a pause one mail tries it, the others wait."""
        if self._pauses == 0:
            return True
        if self._now() < self._until:
            return False
        self._leave_aside()
        return True

    def failed(self, error: ProviderError) -> None:
        """It did not take a mail, for a reason that was the server's own."""
        self.failures += 1
        if self.failures >= ENOUGH and self._pauses == 0:
            self._leave_aside()
        aside = max(0.0, self._until - self._now())
        log.warning(
            "smtp_first_server_failed",
            failures=self.failures,
            error=type(error).__name__,
            reason=error.message,
            provider_code=error.provider_code,
            left_aside_for=round(aside),
        )

    def served(self) -> None:
        """It took a mail, or refused one as a server does that is well."""
        if self.failures:
            log.info("smtp_first_server_well_again", failures=self.failures)
        self.failures = self._pauses = 0

    def _leave_aside(self) -> None:
        self._until = self._now() + min(LONGEST_PAUSE, PAUSE * 2.0**self._pauses)
        self._pauses += 1
