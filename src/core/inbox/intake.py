"""Webhooks that come at the same time are stored together: reports come as fast as messages go out, three of each.

While one group is being stored the next one gathers, so that the busier it is the fewer transactions a webhook costs.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from core.database import is_contention
from core.errors import Overloaded
from core.ports import ProviderEvent
from core.words import say

MOST = 500
"""Events of a group; a single webhook may hold more."""
ALONE_AT_ONCE = 4
"""So many of a group that could not be stored as one are tried by themselves at the same time."""

Events = Sequence[ProviderEvent]
Store = Callable[[str, Sequence[Events]], Awaitable[Sequence[int]]]
"""Stores the webhooks of an integration in one transaction; says of each how many of its events were new."""


@dataclass(eq=False)
class _Waiting:
    """A webhook to be stored, and what becomes of it."""

    events: Events
    outcome: "asyncio.Future[int]" = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    def end(self, new: int | BaseException) -> None:
        # Whoever waited may have gone: what they brought is stored all the same, and an error is no less read.
        if self.outcome.done():
            return
        if isinstance(new, BaseException):
            self.outcome.set_exception(new)
            self.outcome.exception()
        else:
            self.outcome.set_result(new)


class Intake:
    """A line for each integration, stored group by group."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lines: dict[str, deque[_Waiting]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._alone = asyncio.Semaphore(ALONE_AT_ONCE)

    async def keep(self, integration: str, events: Events) -> int:
        """Have a webhook's events stored, each once; returns how many were new. Raises Overloaded."""
        one = _Waiting(events)
        if (line := self._lines.get(integration)) is not None:
            line.append(one)
        else:
            self._lines[integration] = deque([one])
            task = asyncio.create_task(self._empty(integration))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return await one.outcome

    async def _empty(self, integration: str) -> None:
        line = self._lines[integration]
        try:
            while line:
                await self._store_group(integration, _next_group(line))
        finally:
            del self._lines[integration]
            for one in line:
                one.end(_ending())

    async def _store_group(self, integration: str, group: Sequence[_Waiting]) -> None:
        try:
            found = await self._store(integration, [one.events for one in group])
        except Exception as error:  # noqa: BLE001  # it is the callers' to raise
            is_away = isinstance(error, Overloaded) and not is_contention(error.__cause__)
            if len(group) == 1 or is_away:
                for one in group:
                    one.end(error)
            else:
                await asyncio.gather(*(self._store_alone(integration, one) for one in group))
        except BaseException:
            for one in group:
                one.end(_ending())
            raise
        else:
            for one, new in zip(group, found, strict=True):
                one.end(new)

    async def _store_alone(self, integration: str, one: _Waiting) -> None:
        async with self._alone:
            await self._store_group(integration, [one])


def _next_group(line: deque[_Waiting]) -> Sequence[_Waiting]:
    group = [line.popleft()]
    size = len(group[0].events)
    while line and size + len(line[0].events) <= MOST:
        group.append(line.popleft())
        size += len(group[-1].events)
    return group


def _ending() -> Overloaded:
    return Overloaded(say("SERVER_ENDING", "The server is ending."), retry_after=1)
