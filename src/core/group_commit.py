"""Processing items in groups: what arrives while a group is under way forms the next one, without a timer.

So the busier a process is, the fewer transactions an item costs. Messages are stored in this way, webhooks are kept,
and credentials are looked up.
"""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Coroutine, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import structlog

from core.errors import Overloaded
from core.words import say

log = structlog.get_logger(__name__)

Item = TypeVar("Item")
Result = TypeVar("Result")
Key = TypeVar("Key", bound=Hashable)
Found = TypeVar("Found")

_SEPARATE_AT_ONCE = 4
"""How many items of a group that failed together are processed at the same time, each by itself."""


class ProcessSeparately(Exception):
    """Raised by `process` about several items: nothing of the group was done; try each item by itself."""


@dataclass(frozen=True, slots=True)
class GroupLimits:
    """Limits of a group, of the groups under way at the same time, and of what may wait (None: any number).

    `weight` limits the sum of the items' weights; a single item may be heavier.
    """

    items: int = 500
    weight: int | None = None
    under_way: int = 1
    waiting: int | None = None


@dataclass(eq=False, slots=True)
class Waiting(Generic[Item, Result]):
    """An item in the queue, its result, and how many callers wait for it."""

    item: Item
    result: "asyncio.Future[Result]" = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    callers: int = 0

    async def wait(self) -> Result:
        """Return the item's result. A caller who is cancelled takes nothing from the others."""
        self.callers += 1
        try:
            return await asyncio.shield(self.result)
        finally:
            self.callers -= 1

    def fail(self, error: Exception) -> None:
        """Raise an error in every caller."""
        self.result.set_exception(error)
        # The callers may be gone; the error counts as read then.
        self.result.exception()


def _stopped() -> Exception:
    return Overloaded(say("SERVER_ENDING", "The server is shutting down."), retry_after=1)


class GroupCommit(Generic[Item, Result]):
    """A queue whose items are processed in groups.

    `process` handles a group and returns a result for each item, in order. Lines take turns in a group, so that a line
    with many items does not hold up the others. `skips_abandoned` leaves out items for which no caller waits any more.
    `after` is called with what was processed once the callers have their results. `full` is what callers are told when
    too many items wait, and `stopped` makes the error of a group that is cancelled in the middle.
    """

    def __init__(
        self,
        process: Callable[[Sequence[Item]], Awaitable[Sequence[Result]]],
        limits: GroupLimits,
        *,
        weight_of: Callable[[Item], int] = lambda _: 0,
        full: str = "",
        skips_abandoned: bool = False,
        after: Callable[[Sequence[tuple[Item, Result]]], Awaitable[None]] | None = None,
        stopped: Callable[[], Exception] = _stopped,
    ) -> None:
        self._process = process
        self._limits = limits
        self._weight_of = weight_of
        self._full = full
        self._skips_abandoned = skips_abandoned
        self._after = after
        self._stopped = stopped
        self._lines: OrderedDict[Hashable, deque[Waiting[Item, Result]]] = OrderedDict()
        self._size = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._under_way = 0
        self._separate = asyncio.Semaphore(_SEPARATE_AT_ONCE)

    async def submit(self, item: Item, *, line: Hashable = None) -> Result:
        """Have an item processed, and return its result. Raises Overloaded when the queue is full."""
        return await self.enqueue(item, line=line).wait()

    def enqueue(self, item: Item, *, line: Hashable = None) -> Waiting[Item, Result]:
        """Put an item in the queue, for callers who share its result. Raises Overloaded when the queue is full."""
        if self._is_full(line):
            raise Overloaded(self._full, retry_after=1)
        one: Waiting[Item, Result] = Waiting(item)
        self._lines.setdefault(line, deque()).append(one)
        self._size += 1
        if self._under_way < self._limits.under_way:
            self._under_way += 1
            self._start(self._work())
        return one

    def _is_full(self, line: Hashable) -> bool:
        """Whether a line has to come back later: when all is full, those that hold more than an even share of it."""
        if self._limits.waiting is None or self._size < self._limits.waiting:
            return False
        return len(self._lines.get(line, ())) * len(self._lines) >= self._limits.waiting

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _work(self) -> None:
        try:
            while group := self._next_group():
                await self._process_group(group)
        finally:
            self._under_way -= 1
            if not self._under_way:
                self._fail_waiting()

    def _next_group(self) -> list[Waiting[Item, Result]]:
        """One item of each line in turn, until the group is full."""
        group: list[Waiting[Item, Result]] = []
        weight = 0
        while self._lines and len(group) < self._limits.items:
            line, waiting = next(iter(self._lines.items()))
            one = waiting[0]
            if self._skips_abandoned and not one.callers:
                one.result.cancel()
            else:
                weight += self._weight_of(one.item)
                if group and self._limits.weight is not None and weight > self._limits.weight:
                    break
                group.append(one)
            waiting.popleft()
            self._size -= 1
            if waiting:
                self._lines.move_to_end(line)
            else:
                del self._lines[line]
        return group

    async def _process_group(self, group: Sequence[Waiting[Item, Result]]) -> None:
        try:
            results = await self._process([one.item for one in group])
            pairs = list(zip(group, results, strict=True))
        except ProcessSeparately as reason:
            log.info("group_taken_apart", members=len(group), reason=type(reason.__cause__).__name__)
            for one in group:
                self._start(self._process_separately(one))
        except Exception as error:  # noqa: BLE001  # it is the callers' to raise
            for one in group:
                one.fail(error)
        except BaseException:
            # The process is being stopped in the middle of a group.
            for one in group:
                one.fail(self._stopped())
            raise
        else:
            for one, result in pairs:
                one.result.set_result(result)
            await self._call_after([(one.item, result) for one, result in pairs])

    async def _process_separately(self, one: Waiting[Item, Result]) -> None:
        async with self._separate:
            await self._process_group([one])

    async def _call_after(self, processed: Sequence[tuple[Item, Result]]) -> None:
        if self._after is None:
            return
        try:
            await self._after(processed)
        except Exception:
            # The callers have their results; the queue must go on.
            log.exception("announcement_failed", members=len(processed))

    def _fail_waiting(self) -> None:
        """Fail what nothing will process any more, because the process is being stopped."""
        while self._lines:
            _, waiting = self._lines.popitem()
            self._size -= len(waiting)
            for one in waiting:
                one.fail(_stopped())


class GroupLookup(Generic[Key, Found]):
    """Finds what callers present, such as credentials; those who ask for one key while it waits share its look-up.

    `look_up` is given up to 500 keys and leaves out those it does not know.
    """

    def __init__(self, look_up: Callable[[Sequence[Key]], Awaitable[Mapping[Key, Found]]]) -> None:
        self._look_up = look_up
        self._waiting: dict[Key, Waiting[Key, Found | None]] = {}
        self._queue: GroupCommit[Key, Found | None] = GroupCommit(
            self._process,
            GroupLimits(waiting=10_000),
            full=say("API_KEYS_CROWD", "The server is checking too many unknown credentials at the moment."),
        )

    async def find(self, key: Key) -> Found | None:
        """Return what is known under a key, None where nothing is. Raises Overloaded."""
        one = self._waiting.get(key)
        if one is None or one.result.done():
            one = self._waiting[key] = self._queue.enqueue(key)
        return await one.wait()

    async def _process(self, keys: Sequence[Key]) -> Sequence[Found | None]:
        for key in keys:
            # Who asks from now on wants to know what is written meanwhile.
            del self._waiting[key]
        known = await self._look_up(keys)
        return [known.get(key) for key in keys]
