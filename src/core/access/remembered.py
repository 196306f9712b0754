"""Answers remembered for a while, and never more of them than there is room for."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Name = TypeVar("Name", bound=Hashable)
Answer = TypeVar("Answer")


class Remembered(Generic[Name, Answer]):
    """Keeps answers by name for so many seconds; the oldest go first when there are too many."""

    def __init__(self, seconds: float, most: int, clock: Callable[[], float]) -> None:
        self._seconds = seconds
        self._most = most
        self._clock = clock
        self._kept: OrderedDict[Name, tuple[float, Answer]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, name: Name) -> Answer | None:
        """What was kept under a name, unless its time is over."""
        kept = self._kept.get(name)
        return kept[1] if kept is not None and self._clock() - kept[0] < self._seconds else None

    def put(self, name: Name, answer: Answer) -> None:
        """Keep an answer from now on."""
        self._kept[name] = (self._clock(), answer)
        self._kept.move_to_end(name)
        if len(self._kept) > self._most:
            self._kept.popitem(last=False)

    def forget(self, name: Name) -> None:
        """Keep it no longer."""
        self._kept.pop(name, None)
