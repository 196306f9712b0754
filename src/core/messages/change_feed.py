"""Changes of messages for the change feed: the status changes behind a cursor, with the messages as they are now."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, ColumnElement, Row, String, cast, func, or_, select, text
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.ext.asyncio import AsyncConnection

from core.errors import CursorExpired
from core.live.change_feed import CHANGES_PER_PAGE, ChangePage, FeedChange, current_cursor
from core.live.cursors import Cursor, Snapshot
from core.messages.queries import EventView, Message, event_view, messages_by_id
from core.messages.status import Direction, MessageStatus
from core.messages.tables import TransactionId, message_events
from core.ports import Channel
from core.sealing import Sealer
from core.words import say

CHANGES_KEPT = timedelta(hours=1)
"""How far back missed changes can be read."""
_CURSOR_KEPT = timedelta(days=7)


@dataclass(frozen=True, slots=True, weakref_slot=True, eq=False, kw_only=True)
class StatusChange(FeedChange):
    """A message reached a new status; `message` is as it was when the change was read, without its sealed parts.

    With `is_opening` it is the latest change of a message when the subscription began, and `previous_status` of the
    event does not count.
    """

    event: EventView
    message: Message
    is_opening: bool = False


@dataclass(frozen=True, slots=True)
class ChangeFilter:
    """Which changes a subscriber wants: those that meet every given condition."""

    ids: frozenset[UUID] | None = None
    batch_id: UUID | None = None
    channels: frozenset[Channel] | None = None
    statuses: frozenset[MessageStatus] | None = None
    direction: Direction | None = None

    @property
    def is_void(self) -> bool:
        """Whether no change can meet it, because a condition allows no value."""
        return any(one is not None and not one for one in (self.ids, self.channels, self.statuses))

    def fits(self, change: StatusChange) -> bool:
        """Whether a change meets every condition."""
        event, message = change.event, change.message
        return (
            (self.ids is None or event.message_id in self.ids)
            and (self.batch_id is None or message.batch_id == self.batch_id)
            and (self.channels is None or (event.channel or message.channel) in self.channels)
            and (self.statuses is None or event.status in self.statuses)
            and (self.direction is None or message.direction is self.direction)
        )


@dataclass(frozen=True, slots=True)
class MessageChanges:
    """Reads changes of messages for the change feed."""

    sealer: Sealer

    async def read_since(
        self, connection: AsyncConnection, tenant: UUID, cursor: Cursor, ids: Collection[UUID] | None
    ) -> ChangePage[StatusChange]:
        """Read the next page of changes behind a cursor, of these messages or of all."""
        return await changes_since(connection, self.sealer, tenant, cursor, ids=ids, limit=CHANGES_PER_PAGE)

    async def read_current(
        self, connection: AsyncConnection, tenant: UUID, ids: Collection[UUID]
    ) -> tuple[Sequence[StatusChange], Cursor]:
        """Read the latest change of each message, and the cursor behind them."""
        return await current_states(connection, self.sealer, tenant, ids)

    async def check(self, connection: AsyncConnection, tenant: UUID, cursor: Cursor) -> None:
        """Raise CursorExpired unless everything behind a cursor can still be read."""
        await check_cursor(connection, tenant, cursor)


async def changes_since(
    connection: AsyncConnection,
    sealer: Sealer,
    tenant: UUID,
    cursor: Cursor,
    *,
    ids: Collection[UUID] | None,
    limit: int,
) -> ChangePage[StatusChange]:
    """Read the next changes behind a cursor, of these messages or of all."""
    now = await current_cursor(connection) if cursor.ahead is None else Cursor(cursor.at, cursor.ahead)
    statement = (
        select(message_events)
        .where(
            message_events.c.tenant_id == tenant,
            _is_not_visible(cursor.seen),
            _is_visible(now.seen),
            message_events.c.sequence > cursor.sequence,
            message_events.c.status.is_distinct_from(message_events.c.previous_status),
        )
        .order_by(message_events.c.sequence)
        .limit(limit)
    )
    if ids is not None:
        statement = statement.where(message_events.c.message_id.in_(ids))
    rows = (await connection.execute(statement)).all()
    cursors = [Cursor(now.at, cursor.seen, now.seen, row.sequence) for row in rows]
    is_all = len(rows) < limit
    changes = await _with_messages(connection, sealer, tenant, rows, cursors)
    return ChangePage(changes, now if is_all else cursors[-1], is_all)


async def current_states(
    connection: AsyncConnection, sealer: Sealer, tenant: UUID, ids: Collection[UUID]
) -> tuple[list[StatusChange], Cursor]:
    """Read the latest change of each message, and the cursor behind them."""
    cursor = await current_cursor(connection)
    latest = (
        select(message_events)
        .ext(distinct_on(message_events.c.message_id))
        .where(message_events.c.tenant_id == tenant, message_events.c.message_id.in_(ids), _is_visible(cursor.seen))
        .order_by(message_events.c.message_id, message_events.c.sequence.desc())
    )
    rows = (await connection.execute(latest)).all()
    # A subscriber that leaves before the last of them has to begin again.
    unfinished = Cursor(cursor.at, cursor.seen, is_opening=True)
    cursors = [*[unfinished] * (len(rows) - 1), cursor]
    return await _with_messages(connection, sealer, tenant, rows, cursors, is_opening=True), cursor


async def check_cursor(connection: AsyncConnection, tenant: UUID, cursor: Cursor) -> None:
    """Raise CursorExpired unless everything behind a cursor can still be read."""
    now = await current_cursor(connection)
    age = now.at - cursor.at
    # A cursor ahead of this database is another one's, from before a backup was restored.
    is_lost = cursor.newest.xmax > now.seen.xmax or age > _CURSOR_KEPT.total_seconds()
    if not is_lost and age > CHANGES_KEPT.total_seconds():
        # If nothing has happened since, nothing is missed, however old the cursor is.
        missed = select(message_events.c.sequence).where(
            message_events.c.tenant_id == tenant,
            _is_not_visible(cursor.seen),
            message_events.c.at < func.now() - CHANGES_KEPT,
        )
        if cursor.ahead is not None:
            is_read = _is_visible(cursor.ahead) & (message_events.c.sequence <= cursor.sequence)
            missed = missed.where(~is_read)
        is_lost = (await connection.execute(missed.limit(1))).first() is not None
    if is_lost:
        raise CursorExpired(
            say(
                "CURSOR_EXPIRED",
                "Too many changes happened since this cursor. Fetch your data again, then subscribe without a cursor.",
            )
        )


async def _with_messages(
    connection: AsyncConnection,
    sealer: Sealer,
    tenant: UUID,
    rows: Sequence[Row[Any]],
    cursors: Sequence[Cursor],
    *,
    is_opening: bool = False,
) -> list[StatusChange]:
    if not rows:
        return []
    found = await messages_by_id(connection, sealer, tenant, {row.message_id for row in rows})
    return [
        StatusChange(
            transaction=int(row.transaction_id),
            sequence=row.sequence,
            cursor=cursor,
            event=event_view(row),
            message=found[row.message_id],
            is_opening=is_opening,
        )
        for row, cursor in zip(rows, cursors, strict=True)
    ]


def _is_not_visible(snapshot: Snapshot) -> ColumnElement[bool]:
    # In a form for which the index is used: a transaction that runs for hours costs no more than its own events.
    since = cast(cast(str(snapshot.xmax), String), TransactionId)
    if not snapshot.running:
        return message_events.c.transaction_id >= since
    running = cast(cast([str(one) for one in sorted(snapshot.running)], ARRAY(String)), ARRAY(TransactionId))
    return or_(message_events.c.transaction_id >= since, message_events.c.transaction_id == func.any(running))


def _is_visible(snapshot: Snapshot) -> ColumnElement[bool]:
    encoded = text("CAST(CAST(:snapshot AS text) AS pg_snapshot)").bindparams(snapshot=snapshot.to_postgres())
    return func.pg_visible_in_snapshot(message_events.c.transaction_id, encoded)
