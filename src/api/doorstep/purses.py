"""A token bucket for each of many: filled evenly, never fuller than a minute's worth, and never too many of them."""

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable

MOST_PURSES = 50_000
"""About 15 MB. The one left alone longest is forgotten first: it has filled up since, or nearly."""


class Purses:
    """What each may still spend; kept in this process alone."""

    def __init__(
        self, per_minute: float, *, most: int = MOST_PURSES, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._full = per_minute
        self._most = most
        self._clock = clock
        self._kept: OrderedDict[Hashable, tuple[float, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def take(self, who: Hashable, cost: float = 1.0) -> float:
        """Pay, and return 0; or return the seconds until there is enough, nothing paid."""
        left = self._left(who)
        if left < cost:
            return (cost - left) * 60.0 / self._full
        self._keep(who, left - cost)
        return 0.0

    def charge(self, who: Hashable, cost: float) -> None:
        """Take what must be paid, into debt if need be; no debt is larger than a full purse."""
        self._keep(who, max(self._left(who) - cost, -self._full))

    def give_back(self, who: Hashable, cost: float = 1.0) -> None:
        """Undo a payment."""
        self._keep(who, min(self._left(who) + cost, self._full))

    def _left(self, who: Hashable) -> float:
        known = self._kept.get(who)
        if known is None:
            return self._full
        left, at = known
        return min(left + (self._clock() - at) * self._full / 60.0, self._full)

    def _keep(self, who: Hashable, left: float) -> None:
        if left >= self._full:
            # A full purse is what everybody has.
            self._kept.pop(who, None)
            return
        self._kept[who] = (left, self._clock())
        self._kept.move_to_end(who)
        if len(self._kept) > self._most:
            self._kept.popitem(last=False)
