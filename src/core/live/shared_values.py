"""Values that many subscribers watch: computed once for all of them, while there is a subscriber.

Only the newest value is kept, so a slow subscriber skips the values in between and no queue grows.
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
    """One value; the context that `begin` opens gives a function that waits until the value may have changed."""

    def __init__(self, compute: Callable[[], Awaitable[Value]], begin: Begin[Value]) -> None:
        self._compute = compute
        self._begin = begin
        self._changed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._value: Value | None = None
        self._version = 0
        self.watchers = 0

    async def run(self) -> None:
        """Keep the value up to date until canceled; a failure is raised in all subscribers."""
        try:
            with self._begin() as pause:
                while True:
                    value = await retry_until_available(self._compute)
                    if value != self._value:
                        self._value, self._version = value, self._version + 1
                        changed, self._changed = self._changed, asyncio.get_running_loop().create_future()
                        changed.set_result(None)
                    await pause(value)
        except Exception as error:
            log.exception("board_failed")
            self._changed.set_exception(error)
            # Marks the error as seen: there may be no subscriber.
            self._changed.exception()

    async def after(self, version: int) -> tuple[int, Value]:
        """Wait for a newer value than that version; raises the error that ended `run`."""
        while self._value is None or self._version == version:
            await asyncio.shield(self._changed)
        return self._version, self._value


class SharedValues:
    """The shared values of this process."""

    def __init__(self) -> None:
        self._values: dict[Hashable, tuple[SharedValue[Any], asyncio.Task[None]]] = {}

    def __len__(self) -> int:
        return len(self._values)

    async def watch(
        self, key: Hashable, compute: Callable[[], Awaitable[Value]], begin: Begin[Value]
    ) -> AsyncGenerator[Value, None]:
        """Yield a value and each newer one; `compute` and `begin` are taken from the first subscriber of a key."""
        if key not in self._values or self._values[key][1].done():
            begun = SharedValue(compute, begin)
            self._values[key] = begun, asyncio.create_task(begun.run())
        shared, task = self._values[key]
        shared.watchers += 1
        try:
            version = 0
            while True:
                version, value = await shared.after(version)
                yield value
        finally:
            shared.watchers -= 1
            if not shared.watchers:
                if self._values.get(key, (None,))[0] is shared:
                    del self._values[key]
                task.cancel()
                await asyncio.wait([task])
