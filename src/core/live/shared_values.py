"""Boards: a value that many look at, computed once for all of them while anybody looks, and told when it changes.

Only the newest value is kept, so whoever is slow misses what came in between and holds nothing.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Hashable
from contextlib import AbstractContextManager
from typing import Any, Generic, TypeVar

import structlog

from core.database import retry_until_available

Value = TypeVar("Value")

Begin = Callable[[], AbstractContextManager[Callable[[Value], Awaitable[None]]]]

log = structlog.get_logger(__name__)


class SharedValue(Generic[Value]):
    """One value: `begin` gives, for as long as its context is open, what waits until it is worth computing anew."""

    def __init__(self, compute: Callable[[], Awaitable[Value]], begin: Begin[Value]) -> None:
        self._compute = compute
        self._begin = begin
        self._news: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._value: Value | None = None
        self._version = 0
        self.watchers = 0

    async def run(self) -> None:
        """Keep it up to date until cancelled; a failure is told to everybody who looks."""
        try:
            with self._begin() as pause:
                while True:
                    value = await retry_until_available(self._compute)
                    if value != self._value:
                        self._value, self._version = value, self._version + 1
                        told, self._news = self._news, asyncio.get_running_loop().create_future()
                        told.set_result(None)
                    await pause(value)
        except Exception as error:
            log.exception("board_failed")
            self._news.set_exception(error)
            # Nobody may be looking just now.
            self._news.exception()

    async def after(self, version: int) -> tuple[int, Value]:
        """Wait for a newer value than that version; raises what made the board fail."""
        while self._value is None or self._version == version:
            await asyncio.shield(self._news)
        return self._version, self._value


class SharedValues:
    """The boards of this process."""

    def __init__(self) -> None:
        self._boards: dict[Hashable, tuple[SharedValue[Any], asyncio.Task[None]]] = {}

    def __len__(self) -> int:
        return len(self._boards)

    async def watch(
        self, key: Hashable, compute: Callable[[], Awaitable[Value]], begin: Begin[Value]
    ) -> AsyncGenerator[Value, None]:
        """Yield the value of a board and each newer one; `compute` and `begin` are those of whoever came first."""
        if key not in self._boards or self._boards[key][1].done():
            begun = SharedValue(compute, begin)
            self._boards[key] = begun, asyncio.create_task(begun.run())
        board, task = self._boards[key]
        board.watchers += 1
        try:
            version = 0
            while True:
                version, value = await board.after(version)
                yield value
        finally:
            board.watchers -= 1
            if not board.watchers:
                if self._boards.get(key, (None,))[0] is board:
                    del self._boards[key]
                task.cancel()
                await asyncio.wait([task])
