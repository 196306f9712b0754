"""Row ids: UUIDs of version 7, so that the newest rows lie together and ids sort by time."""

import os
import time
from datetime import datetime
from uuid import UUID


def uuid7() -> UUID:
    """Make a UUID of 48 bits of milliseconds and 74 random bits (RFC 9562, section 5.7)."""
    milliseconds = time.time_ns() // 1_000_000
    value = (milliseconds << 80) | int.from_bytes(os.urandom(10), "big")
    value = (value & ~(0xF << 76)) | (0x7 << 76)
    value = (value & ~(0x3 << 62)) | (0x2 << 62)
    return UUID(int=value)


def uuid7_floor(moment: datetime) -> UUID:
    """The least UUID of version 7 that can be made from a moment on."""
    milliseconds = max(0, int(moment.timestamp() * 1000))
    return UUID(int=(milliseconds << 80) | (0x7 << 76) | (0x2 << 62))
