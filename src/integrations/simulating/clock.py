"""A company's own clock: real time, and as far ahead of it as somebody has turned it."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta


@dataclass(slots=True)
class Clock:
    """Tells windows, limits and the times of messages; how long webhooks travel is real time."""

    ahead: timedelta = timedelta()

    def now(self) -> datetime:
        """The company's time."""
        return datetime.now(UTC) + self.ahead

    def advance(self, seconds: float) -> None:
        """Let time pass at once."""
        self.ahead += timedelta(seconds=seconds)

    def set_ahead(self, seconds: float) -> None:
        """Turn it so far ahead of real time."""
        self.ahead = timedelta(seconds=seconds)
