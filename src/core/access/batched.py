"""Looking up what callers present, in one statement at a time for all that is wanted meanwhile."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from typing import Generic, TypeVar

from core.errors import Overloaded
from core.words import say

MOST_AT_ONCE = 500
MOST_WAITING = 10_000

Name = TypeVar("Name", bound=Hashable)
Found = TypeVar("Found")


class Batched(Generic[Name, Found]):
    """Finds things by name; `look_up` is given up to 500 names and leaves out those it does not know."""

    def __init__(self, look_up: Callable[[Sequence[Name]], Awaitable[Mapping[Name, Found]]]) -> None:
        self._look_up = look_up
        self._wanted: dict[Name, asyncio.Future[Found | None]] = {}
        self._work: asyncio.Task[None] | None = None

    async def find(self, name: Name) -> Found | None:
        """What is known under a name; None where there is none of that name. Raises Overloaded."""
        found = self._wanted.get(name)
        if found is None:
            if len(self._wanted) >= MOST_WAITING:
                raise Overloaded(
                    say("API_KEYS_CROWD", "Too many unknown credentials are being presented at once."), retry_after=1
                )
            found = self._wanted[name] = asyncio.get_running_loop().create_future()
            if self._work is None or self._work.done():
                self._work = asyncio.create_task(self._look_up_all())
        # Whoever leaves in the middle takes nothing from the others.
        return await asyncio.shield(found)

    async def _look_up_all(self) -> None:
        while self._wanted:
            batch = {name: self._wanted.pop(name) for name in list(self._wanted)[:MOST_AT_ONCE]}
            try:
                known = await self._look_up(list(batch))
            except Exception as error:  # noqa: BLE001  # it is the callers' to raise
                _fail(list(batch.values()), error)
            except BaseException:
                ending = Overloaded(say("SERVER_ENDING", "The server is ending."), retry_after=1)
                _fail([*batch.values(), *self._wanted.values()], ending)
                self._wanted.clear()
                raise
            else:
                for name, waiting in batch.items():
                    waiting.set_result(known.get(name))


def _fail(waiting: "Sequence[asyncio.Future[Found | None]]", error: Exception) -> None:
    for one in waiting:
        one.set_exception(error)
        # Whoever waited may have gone; the error is no less read then.
        one.exception()
