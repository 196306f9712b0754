"""Accepting in groups: who asks at the same time shares one transaction, and each is answered after its commit.

No timer: while at most two groups are under way, the next one gathers. Tenants take turns in the queue, so that one
with much to say does not hold up the others. Equal keys wait for the first of them instead of for its lock.
"""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import structlog

from core.errors import CommitUnknown, Overloaded
from core.messages.store import AlreadyStored, Outcome, SealedMessage, Stored, StoreSeparately
from core.words import say

log = structlog.get_logger(__name__)

UNDER_WAY = 2
MOST = 200
"""Members of one group."""
HEAVIEST = 4_000_000
"""Bytes of content after which a group is full."""
WAITING = 5_000
"""Members that may wait; whoever has filled the queue is then told to come back."""
_BY_THEMSELVES = 4

Commit = Callable[[Sequence[SealedMessage]], Awaitable[Sequence[Outcome]]]
Announce = Callable[[Sequence[tuple[SealedMessage, Stored]]], Awaitable[None]]
Key = tuple[UUID, str]


@dataclass(eq=False, slots=True)
class _Waiting:
    """A member in the queue, and how many callers wait for what becomes of it."""

    member: SealedMessage
    outcome: "asyncio.Future[Outcome]" = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    callers: int = 0

    @property
    def key(self) -> Key | None:
        return None if self.member.request is None else (self.member.tenant_id, self.member.request.key)

    async def wait(self) -> Outcome:
        """What became of it. A caller who goes away takes nothing from the others."""
        self.callers += 1
        try:
            return await asyncio.shield(self.outcome)
        finally:
            self.callers -= 1


class GroupCommit:
    """The queue of what is to be stored. `commit` stores members as one; `announce` is told what was stored."""

    def __init__(self, commit: Commit, announce: Announce) -> None:
        self._commit = commit
        self._announce = announce
        self._lines: OrderedDict[UUID, deque[_Waiting]] = OrderedDict()
        self._size = 0
        self._first: dict[Key, _Waiting] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._under_way = 0
        self._alone = asyncio.Semaphore(_BY_THEMSELVES)

    async def submit(self, member: SealedMessage) -> Outcome:
        """Have a member stored with whoever asks at the same time; raises what the database does to it alone."""
        one = _Waiting(member)
        while one.key is not None and (first := self._first.get(one.key)) is not None:
            outcome = _same(first.member, member, await first.wait())
            if outcome is not None:
                return outcome
        if self._is_too_long(member.tenant_id):
            text = say("TOO_MANY_AT_ONCE", "Too many messages are being handed in at once; nothing was stored.")
            raise Overloaded(text, retry_after=1)
        self._enqueue(one)
        return await one.wait()

    def _is_too_long(self, tenant: UUID) -> bool:
        """Whether a tenant has to come back later: when all is full, those that hold more than an even share of it."""
        own = len(self._lines.get(tenant, ()))
        return self._size >= WAITING and own * len(self._lines) >= WAITING

    def _enqueue(self, one: _Waiting) -> None:
        self._lines.setdefault(one.member.tenant_id, deque()).append(one)
        self._size += 1
        if one.key is not None:
            self._first[one.key] = one
        if self._under_way < UNDER_WAY:
            self._under_way += 1
            self._start(self._work())

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _work(self) -> None:
        try:
            while group := self._take():
                await self._store(group)
        finally:
            self._under_way -= 1

    def _take(self) -> list[_Waiting]:
        """The next group: one of each tenant in turn, until it is full. Whose callers have all gone is left out."""
        group: list[_Waiting] = []
        weight = 0
        while self._lines and len(group) < MOST and weight < HEAVIEST:
            tenant, line = self._lines.popitem(last=False)
            one = line.popleft()
            self._size -= 1
            if line:
                self._lines[tenant] = line
            if one.callers:
                group.append(one)
                weight += len(one.member.content_sealed)
            else:
                self._forget(one)
        return group

    async def _store(self, group: Sequence[_Waiting]) -> None:
        try:
            outcomes = await self._commit([one.member for one in group])
            pairs = list(zip(group, outcomes, strict=True))
        except StoreSeparately as reason:
            log.info("group_taken_apart", members=len(group), reason=type(reason.__cause__).__name__)
            for one in group:
                self._start(self._store_alone(one))
        except Exception as error:  # noqa: BLE001  # it is the caller's to raise
            self._fail(group, error)
        except BaseException:
            # We are being ended in the middle: nobody knows.
            text = say("SERVER_STOPPED", "The server was stopped meanwhile: repeat it, with the same idempotency key.")
            self._fail(group, CommitUnknown(text, retry_after=2))
            raise
        else:
            await self._answer(pairs)

    async def _store_alone(self, one: _Waiting) -> None:
        async with self._alone:
            await self._store([one])

    async def _answer(self, pairs: Sequence[tuple[_Waiting, Outcome]]) -> None:
        for one, outcome in pairs:
            self._forget(one)
            one.outcome.set_result(outcome)
        stored = [(one.member, outcome) for one, outcome in pairs if isinstance(outcome, Stored)]
        try:
            if stored:
                await self._announce(stored)
        except Exception:
            # They are stored, and found without being announced; the queue must go on.
            log.exception("announcement_failed", members=len(stored))

    def _fail(self, group: Sequence[_Waiting], error: Exception) -> None:
        for one in group:
            self._forget(one)
            one.outcome.set_exception(error)
            # Whoever waited may have gone; the error is no less read then.
            one.outcome.exception()

    def _forget(self, one: _Waiting) -> None:
        if one.key is not None and self._first.get(one.key) is one:
            del self._first[one.key]


def _same(first: SealedMessage, later: SealedMessage, outcome: Outcome) -> Outcome | None:
    """What the first outcome is for a later member with the same key; None when it has to ask by itself."""
    is_equal = first.request == later.request
    if is_equal and isinstance(outcome, Stored | AlreadyStored):
        return AlreadyStored(first.message_id if isinstance(outcome, Stored) else outcome.message_id)
    return outcome if isinstance(outcome, Overloaded) else None
