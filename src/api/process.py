"""What a long-running process needs: loops that never end, a tuned garbage collector, a name."""

import asyncio
import gc
import os
import socket
import traceback
from collections.abc import Awaitable, Callable

from core.errors import Overloaded, is_cancelling
from core.log_throttle import ThrottledLog
from core.sealing import KeyMissing
from core.store_faults import database_fault

_THRESHOLDS = 20_000, 20, 20
"""So many more objects made than freed before it looks at the young ones; by custom it is 700, 10, 10."""


def tune_garbage_collector() -> None:
    """Collect once, let it look no more at what is there now, and at anything new more seldom.

    A worker holds hundreds of thousands of objects that came with its modules. Looking through them for what a few
    hundred messages have left behind costs more than the messages.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_THRESHOLDS)


# Loops that never end: after a failure they wait for a growing pause and log at growing intervals.


_LONGEST_PAUSE = 5.0


async def run_forever(name: str, turn: Callable[[], Awaitable[None]]) -> None:
    """Take turn after turn until cancelled; a turn waits by itself for something to do."""
    pause, troubles = 0.1, ThrottledLog()
    while True:
        try:
            await turn()
            pause = 0.1
            troubles.succeeded("loop_resumed", loop=name)
        except (Exception, asyncio.CancelledError) as error:
            if is_cancelling(error):
                raise
            _tell(name, error, troubles)
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)


def _tell(name: str, error: BaseException, troubles: ThrottledLog) -> None:
    if isinstance(error, KeyMissing):
        # It names the key's id. Everything waits, and a traceback would say nothing more.
        troubles.failed("loop_waits", "KEY_MISSING", level="error", loop=name, why=str(error))
    elif isinstance(error, Overloaded):
        # What is away has said so in a line of its own, with its reason, and a traceback would say nothing more.
        fault = database_fault(error.__cause__)
        troubles.failed(
            "loop_waits", fault.code if fault else error.reason_code, level="info", loop=name, why=error.message
        )
    else:
        place = traceback.extract_tb(error.__traceback__)[-1]
        kind = f"{type(error).__name__} at {place.filename}:{place.lineno}"
        troubles.failed("loop_failed", kind, level="error", loop=name, error=type(error).__name__, exc_info=error)


def process_name() -> str:
    """What this process is called where processes say that they live."""
    return f"{socket.gethostname()}:{os.getpid()}"
