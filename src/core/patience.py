"""Waiting for the database to come back, for those who would rather wait than be told to try again."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from core.errors import Overloaded

Result = TypeVar("Result")

_FIRST_PAUSE = 0.2
_LONGEST_PAUSE = 5.0


async def when_back(read: Callable[[], Awaitable[Result]]) -> Result:
    """Read, and read again with growing pauses while the database is away; only for what changes nothing."""
    pause = _FIRST_PAUSE
    while True:
        try:
            return await read()
        except Overloaded:
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)
