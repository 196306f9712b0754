"""The change feed: what changed for a tenant, read once per process and handed to every subscriber.

A feed exists while it has subscribers. Woken by a hint, it reads what is new and puts it into the subscribers' bounded
queues; what a subscriber has not taken yet stays in the database as long as it keeps up.

A new subscriber joins the feed first and then reads from the database; what the feed hands over meanwhile is skipped if
it was read already. Snapshots tell this exactly, in whichever order transactions end, so no change is left out and none
is sent twice.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Generic, NamedTuple, Protocol, TypeVar
from uuid import UUID

import structlog
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from core.database import Database, retry_until_available
from core.live.cursors import Cursor, Snapshot
from core.ports.sending import MESSAGE
from core.pubsub import Hub, Listener

log = structlog.get_logger(__name__)

CHANGES_PER_PAGE = 200
"""How many changes are read at once."""
QUEUE_SIZE = 1_000
"""The largest number of changes that wait for one subscriber."""
_MAX_IDS = 1_000
# Under load, changes are read together; the first one after a pause is read at once.
_PAUSE = 0.01
_PAUSES_FOR_SUBSCRIBERS = 25

_CURRENT_CURSOR = text("SELECT pg_current_snapshot()::text AS snapshot, extract(epoch FROM now())::bigint AS at")


# Compared by identity, since one change is one event for all its subscribers.
@dataclass(frozen=True, slots=True, weakref_slot=True, eq=False, kw_only=True)
class FeedChange:
    """One change; `cursor` lies behind it. `has_gap` says that changes before this one were left out."""

    transaction: int
    sequence: int
    cursor: Cursor
    has_gap: bool = False


Change = TypeVar("Change", bound=FeedChange)
AnyChange = TypeVar("AnyChange", bound=FeedChange, contravariant=True)


class ChangePage(NamedTuple, Generic[Change]):
    """Changes in their order, the cursor behind them, and whether these were all there are."""

    changes: Sequence[Change]
    cursor: Cursor
    is_all: bool


class ChangeCondition(Protocol[AnyChange]):
    """Which changes a subscriber wants; `ids` are the only objects they may be about, None for all."""

    @property
    def ids(self) -> frozenset[UUID] | None:
        """The objects whose changes are wanted."""
        ...

    def fits(self, change: AnyChange) -> bool:
        """Whether a change is wanted."""
        ...


class ChangeReader(Protocol[Change]):
    """How changes of one kind are read from the database."""

    async def read_since(
        self, connection: AsyncConnection, tenant: UUID, cursor: Cursor, ids: Collection[UUID] | None
    ) -> ChangePage[Change]:
        """Read the next page of changes behind a cursor, of these objects or of all."""
        ...

    async def read_current(
        self, connection: AsyncConnection, tenant: UUID, ids: Collection[UUID]
    ) -> tuple[Sequence[Change], Cursor]:
        """Read the latest change of each object, and the cursor behind them."""
        ...

    async def check(self, connection: AsyncConnection, tenant: UUID, cursor: Cursor) -> None:
        """Raise CursorExpired unless everything behind a cursor can still be read."""
        ...


async def current_cursor(connection: AsyncConnection) -> Cursor:
    """Return the current cursor: everything committed until now lies before it."""
    row = (await connection.execute(_CURRENT_CURSOR)).one()
    return Cursor(row.at, Snapshot.from_postgres(row.snapshot))


class Subscriber(Generic[Change]):
    """A subscriber's condition, and the queue of changes that wait for it."""

    def __init__(self, condition: ChangeCondition[Change]) -> None:
        self.condition = condition
        self.keeps_up = True
        self._queue: deque[Change] = deque()
        self._has_news = asyncio.Event()
        self._is_paused = False
        self._failure: BaseException | None = None

    def __len__(self) -> int:
        return len(self._queue)

    def push(self, change: Change) -> None:
        """Queue a change that fits. When the queue is full it is emptied first, and the change says so."""
        if self._is_paused or not self.condition.fits(change):
            return
        if len(self._queue) >= QUEUE_SIZE:
            self._queue.clear()
            change = replace(change, has_gap=True)
        self._queue.append(change)
        self._has_news.set()

    def fail(self, failure: BaseException) -> None:
        """Raise a failure of the feed once the queue is empty."""
        self._failure = failure
        self._has_news.set()

    def pause(self) -> None:
        """Queue nothing for now, since changes are read from the database."""
        self._is_paused = True
        self._queue.clear()

    def resume(self) -> None:
        """Queue what comes from now on."""
        self._is_paused = False

    async def next(self) -> Change:
        """Take the next change; raises the failure of the feed."""
        while not self._queue:
            if self._failure is not None:
                raise self._failure
            self._has_news.clear()
            await self._has_news.wait()
        self.keeps_up = self.keeps_up or len(self._queue) <= CHANGES_PER_PAGE
        return self._queue.popleft()


class ChangeFeed(Generic[Change]):
    """Reads one tenant's changes for all their subscribers."""

    def __init__(self, database: Database, hub: Hub, reader: ChangeReader[Change], tenant: UUID, kind: str) -> None:
        self._kind = kind
        self._database = database
        self._hub = hub
        self._reader = reader
        self._tenant = tenant
        self._cursor: Cursor | None = None
        self._subscribers: set[Subscriber[Change]] = set()
        self._joining: list[tuple[Subscriber[Change], asyncio.Future[Cursor]]] = []
        self._listener: Listener | None = None

    @property
    def is_unused(self) -> bool:
        """Whether it has no subscribers."""
        return not self._subscribers and not self._joining

    async def join(self, subscriber: Subscriber[Change]) -> Cursor:
        """Add a subscriber, which gets everything behind the cursor that this returns."""
        joined: asyncio.Future[Cursor] = asyncio.get_running_loop().create_future()
        self._joining.append((subscriber, joined))
        if self._listener is not None:
            self._listener.wake()
        return await joined

    def leave(self, subscriber: Subscriber[Change]) -> None:
        """Remove a subscriber."""
        self._subscribers.discard(subscriber)
        self._joining = [one for one in self._joining if one[0] is not subscriber]

    async def run(self) -> None:
        """Read and hand over until cancelled; a failure is raised in every subscriber."""
        try:
            with self._hub.listen(self._tenant, kind=self._kind) as listener:
                self._listener = listener
                while True:
                    await self._look(listener)
                    await asyncio.sleep(_PAUSE)
                    await listener.wait()
        except Exception as error:
            log.exception("feed_failed")
            for subscriber in self._subscribers:
                subscriber.fail(error)
            for _, joined in self._joining:
                if not joined.done():
                    joined.set_exception(error)

    async def _look(self, listener: Listener) -> None:
        joining = list(self._joining)
        ids = _wanted_ids([*self._subscribers, *(subscriber for subscriber, _ in joining)])
        listener.select(ids)
        while True:
            page = await retry_until_available(partial(self._read, ids))
            for change in page.changes:
                for subscriber in self._subscribers:
                    subscriber.push(change)
            self._cursor = page.cursor
            if page.is_all:
                break
            await self._wait_for_subscribers()
        for subscriber, joined in joining:
            if not joined.done():
                self._subscribers.add(subscriber)
                joined.set_result(page.cursor)
        self._joining = [one for one in self._joining if not one[1].done()]
        await self._wait_for_subscribers()

    async def _read(self, ids: frozenset[UUID] | None) -> ChangePage[Change]:
        async with self._hub.reading, self._database.transaction(self._tenant) as connection:
            if self._cursor is None:
                return ChangePage([], await current_cursor(connection), is_all=True)
            return await self._reader.read_since(connection, self._tenant, self._cursor, ids)

    async def _wait_for_subscribers(self) -> None:
        """Wait a while for subscribers that keep up but have more than a page in their queues."""
        for _ in range(_PAUSES_FOR_SUBSCRIBERS):
            if not any(len(one) > CHANGES_PER_PAGE and one.keeps_up for one in self._subscribers):
                return
            await asyncio.sleep(_PAUSE)
        # The others are not waited for again until they have caught up.
        for subscriber in self._subscribers:
            subscriber.keeps_up = len(subscriber) <= CHANGES_PER_PAGE


class ChangeFeeds(Generic[Change]):
    """The feeds of this process for one kind of changes, by tenant."""

    def __init__(self, database: Database, hub: Hub, reader: ChangeReader[Change], kind: str = MESSAGE) -> None:
        self.kind = kind
        self.database = database
        self.hub = hub
        self.reader = reader
        self._feeds: dict[UUID, tuple[ChangeFeed[Change], asyncio.Task[None]]] = {}

    def __len__(self) -> int:
        return len(self._feeds)

    @asynccontextmanager
    async def join(self, tenant: UUID, subscriber: Subscriber[Change]) -> AsyncIterator[Cursor]:
        """Subscribe while the context is open; gives the cursor behind which everything is queued."""
        if tenant not in self._feeds or self._feeds[tenant][1].done():
            new = ChangeFeed(self.database, self.hub, self.reader, tenant, self.kind)
            self._feeds[tenant] = new, asyncio.create_task(new.run())
        feed, task = self._feeds[tenant]
        try:
            yield await feed.join(subscriber)
        finally:
            feed.leave(subscriber)
            is_current = self._feeds.get(tenant, (None,))[0] is feed
            if is_current and (feed.is_unused or task.done()):
                del self._feeds[tenant]
                task.cancel()
                await asyncio.wait([task])


def _wanted_ids(subscribers: Sequence[Subscriber[Change]]) -> frozenset[UUID] | None:
    """The only objects that subscribers want changes of; None when they want all, or too many to name."""
    wanted: set[UUID] = set()
    for subscriber in subscribers:
        if subscriber.condition.ids is None:
            return None
        wanted |= subscriber.condition.ids
    return frozenset(wanted) if len(wanted) <= _MAX_IDS else None


async def subscribe_to_changes(
    feeds: ChangeFeeds[Change], tenant: UUID, condition: ChangeCondition[Change], after: Cursor | None
) -> AsyncGenerator[Change, None]:
    """Yield a tenant's changes: those behind `after`, or else the latest of each object named by id, and then live.

    Raises CursorExpired.
    """
    subscriber: Subscriber[Change] = Subscriber(condition)
    if after is not None and not after.is_opening:
        async with feeds.database.transaction(tenant) as connection:
            await feeds.reader.check(connection, tenant, after)
        subscriber.pause()
    else:
        after = None
    async with feeds.join(tenant, subscriber) as cursor:
        if after is not None:
            async with aclosing(_missed(feeds, tenant, subscriber, after)) as missed:
                async for page in missed:
                    for change in filter(condition.fits, page.changes):
                        yield change
                    cursor = page.cursor
        elif condition.ids is not None:
            current, cursor = await retry_until_available(partial(_current, feeds, tenant, condition.ids))
            for change in filter(condition.fits, current):
                yield change
        has_gap = False
        while True:
            change = await subscriber.next()
            has_gap |= change.has_gap
            if not cursor.is_past(change.transaction, change.sequence):
                yield _seen_from(change, cursor, has_gap=has_gap)
                has_gap = False


def _seen_from(change: Change, cursor: Cursor, *, has_gap: bool) -> Change:
    """A change of the feed, for a subscriber that has read everything before a cursor the feed may not have reached.

    The feed goes on by sequence from its own cursor: a lower sequence that was committed late is handed over while
    higher ones, which this subscriber has read, are still ahead of the feed, and must not be ahead of its cursor.
    """
    own = change.cursor.also_past(cursor.seen)
    # One object for all subscribers that get the same, so that it is executed once.
    if own is change.cursor and has_gap == change.has_gap:
        return change
    return replace(change, cursor=own, has_gap=has_gap)


async def _missed(
    feeds: ChangeFeeds[Change], tenant: UUID, subscriber: Subscriber[Change], cursor: Cursor
) -> AsyncGenerator[ChangePage[Change], None]:
    """Read what is behind a cursor, page by page, until the subscriber's queue holds everything after it."""

    async def read() -> ChangePage[Change]:
        async with feeds.hub.reading, feeds.database.transaction(tenant) as connection:
            return await feeds.reader.read_since(connection, tenant, cursor, subscriber.condition.ids)

    is_queueing = False
    while True:
        page = await retry_until_available(read)
        yield page
        cursor = page.cursor
        if not page.is_all:
            subscriber.pause()
            is_queueing = False
        elif is_queueing:
            return
        else:
            # What is committed between this read and the next is both read and queued.
            subscriber.resume()
            is_queueing = True


async def _current(feeds: ChangeFeeds[Change], tenant: UUID, ids: frozenset[UUID]) -> tuple[Sequence[Change], Cursor]:
    async with feeds.hub.reading, feeds.database.transaction(tenant) as connection:
        return await feeds.reader.read_current(connection, tenant, ids)
