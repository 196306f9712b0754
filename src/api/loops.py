"""Loops that must not end: each failure is logged once and followed by a growing pause."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from core.ending import is_being_ended
from core.errors import Overloaded

log = structlog.get_logger(__name__)

_LONGEST_PAUSE = 5.0


async def keep_going(name: str, turn: Callable[[], Awaitable[None]]) -> None:
    """Take turn after turn until cancelled; a turn waits by itself for something to do."""
    pause = 0.1
    while True:
        try:
            await turn()
            pause = 0.1
        except Overloaded as error:
            # The store is away: its own log line has said so, and a traceback would say nothing more.
            log.warning("loop_waits", loop=name, reason=error.message)
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)
        except (Exception, asyncio.CancelledError) as error:
            if is_being_ended(error):
                raise
            log.exception("loop_failed", loop=name)
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)
