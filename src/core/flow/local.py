"""The pace one worker keeps by itself while the shared store is away."""

import math
import time

from core.ports import Pace


class LocalPace:
    """A worker's share of a pace, by its own clock: GCRA like the shared one."""

    def __init__(self, pace: Pace | None) -> None:
        self._pace = pace
        self._due = 0.0
        self._paused_until = 0.0

    def allow(self, wanted: int, workers: int) -> tuple[int, float]:
        """How many may be sent now, and in how many seconds to ask for the rest."""
        now = time.monotonic()
        if now < self._paused_until:
            return 0, self._paused_until - now
        if self._pace is None:
            return wanted, 0.0
        interval, burst = self._share(self._pace, workers)
        due = max(self._due, now)
        granted = max(0, min(wanted, math.floor(burst - (due - now) / interval + 0.001)))
        self._due = due + granted * interval
        return granted, max(0.0, self._due - now - (burst - 1) * interval) if granted < wanted else 0.0

    def give_back(self, count: int, workers: int) -> None:
        """Take back what was allowed and not used."""
        if self._pace is not None:
            self._due -= count * self._share(self._pace, workers)[0]

    def pause(self, seconds: float) -> None:
        """Allow nothing for a while."""
        self._paused_until = max(self._paused_until, time.monotonic() + seconds)

    @staticmethod
    def _share(pace: Pace, workers: int) -> tuple[float, int]:
        return workers / pace.per_second, max(1, pace.burst // workers)
