"""The change feed of a tenant's messages: read once per process, and handed to every subscriber."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from typing import Any, NamedTuple
from uuid import UUID

import structlog
from sqlalchemy import ARRAY, ColumnElement, Row, String, cast, func, or_, select, text
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.ext.asyncio import AsyncConnection

from core.database import Database, retry_until_available
from core.errors import CursorExpired
from core.live.cursors import Cursor, Snapshot
from core.messages import queries
from core.messages.queries import EventView, event_view
from core.messages.status import Direction, MessageStatus
from core.messages.tables import TransactionId, message_events
from core.ports import Channel
from core.pubsub import Hub, Listener
from core.sealing import Sealer
from core.words import say

CHANGES_KEPT = timedelta(hours=1)
"""How far back missed changes are told."""
_FORGOTTEN = timedelta(days=7)

_HERE = text("SELECT pg_current_snapshot()::text AS snapshot, extract(epoch FROM now())::bigint AS at")


# Compared as itself, since it is one occasion however many are told of it.
@dataclass(frozen=True, slots=True, weakref_slot=True, eq=False)
class StatusChange:
    """A message came to a new status; `message` is as it was when this was read, without its sealed parts.

    In the opening state `previous_status` of the event is left aside. `has_gap` says that changes were left out before
    this one.
    """

    event: EventView
    transaction: int
    message: queries.Message
    place: Cursor
    is_opening: bool = False
    has_gap: bool = False


@dataclass(frozen=True, slots=True)
class ChangeFilter:
    """Which changes somebody wants to hear of: those that fit every condition given."""

    ids: frozenset[UUID] | None = None
    batch_id: UUID | None = None
    channels: frozenset[Channel] | None = None
    statuses: frozenset[MessageStatus] | None = None
    direction: Direction | None = None

    @property
    def is_void(self) -> bool:
        """Whether no change can ever be one of them: a condition names no value at all."""
        return any(one is not None and not one for one in (self.ids, self.channels, self.statuses))

    def fits(self, change: StatusChange) -> bool:
        """Whether a change is one of them."""
        event, message = change.event, change.message
        return (
            (self.ids is None or event.message_id in self.ids)
            and (self.batch_id is None or message.batch_id == self.batch_id)
            and (self.channels is None or (event.channel or message.channel) in self.channels)
            and (self.statuses is None or event.status in self.statuses)
            and (self.direction is None or message.direction is self.direction)
        )


class ChangePage(NamedTuple):
    """Changes in their order, the place behind them, and whether these were all there were."""

    changes: Sequence[StatusChange]
    place: Cursor
    is_all: bool


async def current_cursor(connection: AsyncConnection) -> Cursor:
    """The present place: what was committed until now lies behind it."""
    row = (await connection.execute(_HERE)).one()
    return Cursor(row.at, Snapshot.from_postgres(row.snapshot))


async def changes_since(
    connection: AsyncConnection,
    sealer: Sealer,
    tenant: UUID,
    place: Cursor,
    *,
    ids: Collection[UUID] | None,
    limit: int,
) -> ChangePage:
    """Read the next changes behind a place, of these messages or of all."""
    now = await current_cursor(connection) if place.ahead is None else Cursor(place.at, place.ahead)
    statement = (
        select(message_events)
        .where(
            message_events.c.tenant_id == tenant,
            _not_shown(place.seen),
            _shown(now.seen),
            message_events.c.sequence > place.sequence,
            message_events.c.status.is_distinct_from(message_events.c.previous_status),
        )
        .order_by(message_events.c.sequence)
        .limit(limit)
    )
    if ids is not None:
        statement = statement.where(message_events.c.message_id.in_(ids))
    rows = (await connection.execute(statement)).all()
    places = [Cursor(now.at, place.seen, now.seen, row.sequence) for row in rows]
    is_all = len(rows) < limit
    changes = await _with_messages(connection, sealer, tenant, rows, places)
    return ChangePage(changes, now if is_all else places[-1], is_all)


async def current_states(
    connection: AsyncConnection, sealer: Sealer, tenant: UUID, ids: Collection[UUID]
) -> tuple[list[StatusChange], Cursor]:
    """Read how messages came to their present state, and the place behind that."""
    place = await current_cursor(connection)
    latest = (
        select(message_events)
        .ext(distinct_on(message_events.c.message_id))
        .where(message_events.c.tenant_id == tenant, message_events.c.message_id.in_(ids), _shown(place.seen))
        .order_by(message_events.c.message_id, message_events.c.sequence.desc())
    )
    rows = (await connection.execute(latest)).all()
    # Whoever leaves before the last of them has to begin anew.
    unfinished = Cursor(place.at, place.seen, is_opening=True)
    places = [*[unfinished] * (len(rows) - 1), place]
    return await _with_messages(connection, sealer, tenant, rows, places, is_opening=True), place


async def check_cursor(connection: AsyncConnection, tenant: UUID, place: Cursor) -> None:
    """Make sure that everything behind a place can still be told. Raises CursorExpired."""
    now = await current_cursor(connection)
    age = now.at - place.at
    # A place this database has not come to yet is of another one, from before a backup was restored.
    is_lost = place.newest.xmax > now.seen.xmax or age > _FORGOTTEN.total_seconds()
    if not is_lost and age > CHANGES_KEPT.total_seconds():
        # Nothing may have happened meanwhile, and then nothing is missed, however old the cursor.
        missed = select(message_events.c.sequence).where(
            message_events.c.tenant_id == tenant,
            _not_shown(place.seen),
            message_events.c.at < func.now() - CHANGES_KEPT,
        )
        if place.ahead is not None:
            is_told = _shown(place.ahead) & (message_events.c.sequence <= place.sequence)
            missed = missed.where(~is_told)
        is_lost = (await connection.execute(missed.limit(1))).first() is not None
    if is_lost:
        raise CursorExpired(
            say(
                "CURSOR_EXPIRED",
                "Too much has happened since this cursor: fetch what you show, then follow without it.",
            )
        )


async def _with_messages(
    connection: AsyncConnection,
    sealer: Sealer,
    tenant: UUID,
    rows: Sequence[Row[Any]],
    places: Sequence[Cursor],
    *,
    is_opening: bool = False,
) -> list[StatusChange]:
    if not rows:
        return []
    found = await queries.messages_by_id(connection, sealer, tenant, {row.message_id for row in rows})
    return [
        StatusChange(event_view(row), int(row.transaction_id), found[row.message_id], place, is_opening)
        for row, place in zip(rows, places, strict=True)
    ]


def _not_shown(snapshot: Snapshot) -> ColumnElement[bool]:
    # Written so that the index finds them: a transaction that runs for hours costs no more than its own events.
    since = cast(cast(str(snapshot.xmax), String), TransactionId)
    if not snapshot.running:
        return message_events.c.transaction_id >= since
    running = cast(cast([str(one) for one in sorted(snapshot.running)], ARRAY(String)), ARRAY(TransactionId))
    return or_(message_events.c.transaction_id >= since, message_events.c.transaction_id == func.any(running))


def _shown(snapshot: Snapshot) -> ColumnElement[bool]:
    written = text("CAST(CAST(:snapshot AS text) AS pg_snapshot)").bindparams(snapshot=snapshot.to_postgres())
    return func.pg_visible_in_snapshot(message_events.c.transaction_id, written)


# What happens to a tenant's messages, read once for everybody in this process who follows them.
#
# A feed lives while somebody follows. Woken by a hint, it reads what is new and hands it to the followers, each of
# whom
# has a bounded queue: the database holds what a follower has not come to yet, as long as it keeps up.


log = structlog.get_logger(__name__)

PAGE = 200
"""Changes read at once."""
ROOM = 1_000
"""Changes that wait for one follower, at most."""
_NAMED = 1_000
# Under load, changes are read together; the first one after a silence waits for nothing.
_BREATH = 0.01
_TURNS = 25


class Subscriber:
    """Somebody who follows, and what waits for them."""

    def __init__(self, interest: ChangeFilter) -> None:
        self.interest = interest
        self.keeps_up = True
        self._waiting: deque[StatusChange] = deque()
        self._news = asyncio.Event()
        self._is_away = False
        self._failure: BaseException | None = None

    def __len__(self) -> int:
        return len(self._waiting)

    def hear(self, change: StatusChange) -> None:
        """Queue a change; when there is no room, everything that waits gives way to it, and it says so."""
        if self._is_away or not self.interest.fits(change):
            return
        if len(self._waiting) >= ROOM:
            self._waiting.clear()
            change = replace(change, has_gap=True)
        self._waiting.append(change)
        self._news.set()

    def fail(self, failure: BaseException) -> None:
        """Hear that there will be nothing more."""
        self._failure = failure
        self._news.set()

    def turn_away(self) -> None:
        """Queue nothing for a while, since it is read from the database."""
        self._is_away = True
        self._waiting.clear()

    def turn_back(self) -> None:
        """Queue what comes from now on."""
        self._is_away = False

    async def next(self) -> StatusChange:
        """Take the next change; raises what made the feed fail."""
        while not self._waiting:
            if self._failure is not None:
                raise self._failure
            self._news.clear()
            await self._news.wait()
        self.keeps_up = self.keeps_up or len(self._waiting) <= PAGE
        return self._waiting.popleft()


class ChangeFeed:
    """Reads one tenant's changes for all its followers."""

    def __init__(self, database: Database, sealer: Sealer, hub: Hub, tenant: UUID) -> None:
        self._database = database
        self._sealer = sealer
        self._hub = hub
        self._tenant = tenant
        self._place: Cursor | None = None
        self._followers: set[Subscriber] = set()
        self._arrivals: list[tuple[Subscriber, asyncio.Future[Cursor]]] = []
        self._listener: Listener | None = None

    @property
    def is_deserted(self) -> bool:
        """Whether nobody follows."""
        return not self._followers and not self._arrivals

    async def join(self, follower: Subscriber) -> Cursor:
        """Let somebody follow; they are told everything behind the place this returns."""
        joined: asyncio.Future[Cursor] = asyncio.get_running_loop().create_future()
        self._arrivals.append((follower, joined))
        if self._listener is not None:
            self._listener.look_again()
        return await joined

    def leave(self, follower: Subscriber) -> None:
        """Let somebody go."""
        self._followers.discard(follower)
        self._arrivals = [one for one in self._arrivals if one[0] is not follower]

    async def run(self) -> None:
        """Read and tell until cancelled; a failure is told to everybody who follows."""
        try:
            with self._hub.listen(self._tenant) as listener:
                self._listener = listener
                while True:
                    await self._look(listener)
                    await asyncio.sleep(_BREATH)
                    await listener.wait()
        except Exception as error:
            log.exception("feed_failed")
            for follower in self._followers:
                follower.fail(error)
            for _, joined in self._arrivals:
                if not joined.done():
                    joined.set_exception(error)

    async def _look(self, listener: Listener) -> None:
        arrivals = list(self._arrivals)
        ids = _named([*self._followers, *(follower for follower, _ in arrivals)])
        listener.listen_for(ids)
        while True:
            news = await retry_until_available(partial(self._read, ids))
            for change in news.changes:
                for follower in self._followers:
                    follower.hear(change)
            self._place = news.place
            if news.is_all:
                break
            await self._wait_for_those_who_keep_up()
        for follower, joined in arrivals:
            if not joined.done():
                self._followers.add(follower)
                joined.set_result(news.place)
        self._arrivals = [one for one in self._arrivals if not one[1].done()]
        await self._wait_for_those_who_keep_up()

    async def _read(self, ids: frozenset[UUID] | None) -> ChangePage:
        async with self._hub.reading, self._database.transaction(self._tenant) as connection:
            if self._place is None:
                return ChangePage([], await current_cursor(connection), is_all=True)
            return await changes_since(connection, self._sealer, self._tenant, self._place, ids=ids, limit=PAGE)

    async def _wait_for_those_who_keep_up(self) -> None:
        for _ in range(_TURNS):
            if not any(len(one) > PAGE and one.keeps_up for one in self._followers):
                return
            await asyncio.sleep(_BREATH)
        # Nobody waits for the others again until they have caught up by themselves.
        for follower in self._followers:
            follower.keeps_up = len(follower) <= PAGE


class ChangeFeeds:
    """The feeds of this process, by tenant."""

    def __init__(self, database: Database, sealer: Sealer, hub: Hub) -> None:
        self.database = database
        self.sealer = sealer
        self.hub = hub
        self._feeds: dict[UUID, tuple[ChangeFeed, asyncio.Task[None]]] = {}

    def __len__(self) -> int:
        return len(self._feeds)

    @asynccontextmanager
    async def join(self, tenant: UUID, follower: Subscriber) -> AsyncIterator[Cursor]:
        """Follow for as long as the context is open; gives the place behind which everything is told."""
        if tenant not in self._feeds or self._feeds[tenant][1].done():
            begun = ChangeFeed(self.database, self.sealer, self.hub, tenant)
            self._feeds[tenant] = begun, asyncio.create_task(begun.run())
        feed, task = self._feeds[tenant]
        try:
            yield await feed.join(follower)
        finally:
            feed.leave(follower)
            is_current = self._feeds.get(tenant, (None,))[0] is feed
            if is_current and (feed.is_deserted or task.done()):
                del self._feeds[tenant]
                task.cancel()
                await asyncio.wait([task])


def _named(followers: list[Subscriber]) -> frozenset[UUID] | None:
    """The only messages anybody follows; None when it is all of them, or too many to name."""
    named: set[UUID] = set()
    for follower in followers:
        if follower.interest.ids is None:
            return None
        named |= follower.interest.ids
    return frozenset(named) if len(named) <= _NAMED else None


# Following messages live: the present state or what was missed first, then every change, none left out or told twice.
#
# Whoever follows joins the feed first and then reads from the database; what the feed tells meanwhile is skipped if
# it
# was read already. Snapshots say so exactly, whatever order transactions end in.


async def subscribe_to_changes(
    feeds: ChangeFeeds, tenant: UUID, interest: ChangeFilter, after: Cursor | None
) -> AsyncGenerator[StatusChange, None]:
    """Yield a tenant's changes: those behind `after`, or else the present state of messages named by id, and then live.

    Raises CursorExpired.
    """
    follower = Subscriber(interest)
    if after is not None and not after.is_opening:
        async with feeds.database.transaction(tenant) as connection:
            await check_cursor(connection, tenant, after)
        follower.turn_away()
    else:
        after = None
    async with feeds.join(tenant, follower) as place:
        if after is not None:
            async with aclosing(_missed(feeds, tenant, follower, after)) as missed:
                async for news in missed:
                    for change in filter(interest.fits, news.changes):
                        yield change
                    place = news.place
        elif interest.ids is not None:
            opening, place = await retry_until_available(partial(_opening, feeds, tenant, interest.ids))
            for change in filter(interest.fits, opening):
                yield change
        has_gap = False
        while True:
            change = await follower.next()
            has_gap |= change.has_gap
            if not place.is_past(change.transaction, change.event.sequence):
                yield _told_from(change, place, has_gap=has_gap)
                has_gap = False


def _told_from(change: StatusChange, place: Cursor, *, has_gap: bool) -> StatusChange:
    """What the feed tells, for somebody who was told of all behind a place that the feed may not have come to yet.

    The feed goes on from where it stood, by number: a lower number that came to light late is told while higher ones
    that this somebody has read already still lie ahead of the feed, and must not lie ahead of their cursor.
    """
    standing = change.place.also_past(place.seen)
    # The same for all who are told the same, so that it is executed once: another one only where it differs.
    if standing is change.place and has_gap == change.has_gap:
        return change
    return replace(change, place=standing, has_gap=has_gap)


async def _missed(
    feeds: ChangeFeeds, tenant: UUID, follower: Subscriber, place: Cursor
) -> AsyncGenerator[ChangePage, None]:
    """Read what is behind a place, page by page, until the follower's queue holds everything after it."""

    async def read() -> ChangePage:
        async with feeds.hub.reading, feeds.database.transaction(tenant) as connection:
            return await changes_since(connection, feeds.sealer, tenant, place, ids=follower.interest.ids, limit=PAGE)

    is_listening = False
    while True:
        news = await retry_until_available(read)
        yield news
        place = news.place
        if not news.is_all:
            follower.turn_away()
            is_listening = False
        elif is_listening:
            return
        else:
            # What comes between this look and the next is both read and queued.
            follower.turn_back()
            is_listening = True


async def _opening(feeds: ChangeFeeds, tenant: UUID, ids: frozenset[UUID]) -> tuple[list[StatusChange], Cursor]:
    async with feeds.hub.reading, feeds.database.transaction(tenant) as connection:
        return await current_states(connection, feeds.sealer, tenant, ids)
