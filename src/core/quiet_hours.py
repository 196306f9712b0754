"""Quiet hours: when nobody wants their telephone to ring."""

from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta


@dataclass(frozen=True, slots=True)
class QuietHours:
    """From `start` on, until `end`, usually of the next day; by the clock on the wall."""

    start: time
    end: time

    def hold(self, moment: time) -> bool:
        """Whether a time of day is in them; `end` is not."""
        if self.start <= self.end:
            return self.start <= moment < self.end
        return moment >= self.start or moment < self.end

    def __str__(self) -> str:
        return f"{self.start:%H:%M}-{self.end:%H:%M}"

    def over_at(self, local: datetime) -> datetime:
        """The moment after a local one, which is in them, at which they are over."""
        day = local.date() + timedelta(days=1 if local.time() >= self.end else 0)
        return datetime.combine(day, self.end, local.tzinfo).astimezone(UTC)


NIGHT = QuietHours(time(21), time(8))
