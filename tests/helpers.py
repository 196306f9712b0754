"""Wait for a condition, and capture logs at every level."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import structlog
from structlog.testing import capture_logs

Result = TypeVar("Result")


async def wait_until(happened: Callable[[], bool], seconds: float = 5) -> None:
    """Wait until a condition holds."""
    async with asyncio.timeout(seconds):
        while not happened():
            await asyncio.sleep(0.01)


async def until(ask: Callable[[], Awaitable[Result]], holds: Callable[[Result], bool], seconds: float = 10) -> Result:
    """Ask until the answer fulfils a condition; return that answer."""
    answer = None
    try:
        async with asyncio.timeout(seconds):
            while not holds(answer := await ask()):
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(f"still {answer!r} after {seconds} s") from None
    return answer


@contextmanager
def all_logs() -> Iterator[list[Any]]:
    """Capture what is logged, at every level."""
    usual = structlog.get_config()["wrapper_class"]
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG))
    try:
        with capture_logs() as logs:
            yield logs
    finally:
        structlog.configure(wrapper_class=usual)
