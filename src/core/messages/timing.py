"""How long things may take on the road: one call, one lease, one unconfirmed message, all tries of a step."""

from dataclasses import dataclass
from datetime import timedelta

GIVE_UP = timedelta(days=3)
"""How long an unconfirmed message is waited for."""


@dataclass(frozen=True, slots=True)
class Timing:
    """The deadline of one call, how long an unconfirmed message is held before anything is decided about it, and
    `retry_for`: how long a step is tried again at least whose calls surely did nothing.
    """

    send_deadline: timedelta = timedelta(seconds=20)
    hold: timedelta = timedelta(seconds=60)
    retry_for: timedelta = timedelta(hours=1)

    @property
    def lease(self) -> timedelta:
        """How long a claim lasts: what cannot end before it does is not begun."""
        return self.send_deadline * 2 + timedelta(seconds=5)
