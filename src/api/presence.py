"""Who we are among processes, and how many sockets and streams each caller has open here."""

import os
import socket
from collections import Counter
from collections.abc import Hashable, Iterator
from contextlib import contextmanager


def process_name() -> str:
    """What this process is called where processes say that they live."""
    return f"{socket.gethostname()}:{os.getpid()}"


class TooManyOpen(Exception):
    """A caller has as many open as it may."""


class Presence:
    """Counts what each caller has open in this process."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._open: Counter[Hashable] = Counter()

    def __len__(self) -> int:
        return self._open.total()

    @contextmanager
    def of(self, who: Hashable) -> Iterator[None]:
        """Count one while the block runs; raises TooManyOpen."""
        if self._open[who] >= self._most:
            raise TooManyOpen
        self._open[who] += 1
        try:
            yield
        finally:
            self._open[who] -= 1
            if not self._open[who]:
                del self._open[who]
