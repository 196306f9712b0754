"""Row ids: UUIDs of version 7, so that the newest rows lie together and ids sort by time."""

import os
import time
from datetime import datetime
from uuid import UUID

_SECOND = 1000 << 12
_previous = 0


def uuid7() -> UUID:
    """Make a UUID of 48 bits of milliseconds, 12 bits of their fraction and 62 random bits (RFC 9562, 6.2, method 3).

    Those of one process grow strictly, also within a millisecond and when the clock is set back by less than a second.
    """
    global _previous
    nanoseconds = time.time_ns()
    moment = (nanoseconds // 1_000_000 << 12) | (nanoseconds % 1_000_000 * 4096 // 1_000_000)
    if 0 <= _previous - moment < _SECOND:
        moment = _previous + 1
    _previous = moment
    random = int.from_bytes(os.urandom(8), "big") & ~(0x3 << 62)
    return UUID(int=(moment >> 12 << 80) | (0x7 << 76) | ((moment & 0xFFF) << 64) | (0x2 << 62) | random)


def uuid7_floor(moment: datetime) -> UUID:
    """The lowest UUID of version 7 that can be made from a moment on."""
    milliseconds = max(0, int(moment.timestamp() * 1000))
    return UUID(int=(milliseconds << 80) | (0x7 << 76) | (0x2 << 62))
