"""Reading what happened to a tenant's messages since a place, with the messages as they are now."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import ARRAY, ColumnElement, Row, String, cast, func, or_, select, text
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.ext.asyncio import AsyncConnection

from core.errors import CursorExpired
from core.messages import read
from core.messages.history import EventView, event_view
from core.messages.places import Place, Snapshot
from core.messages.tables import TransactionId, message_events
from core.messages.values import Direction, MessageStatus
from core.ports import Channel
from core.sealing import Sealer
from core.words import say

KEPT = timedelta(hours=1)
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
    message: read.Message
    place: Place
    is_opening: bool = False
    has_gap: bool = False


@dataclass(frozen=True, slots=True)
class Interest:
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


class News(NamedTuple):
    """Changes in their order, the place behind them, and whether these were all there were."""

    changes: Sequence[StatusChange]
    place: Place
    is_all: bool


async def here(connection: AsyncConnection) -> Place:
    """The present place: what was committed until now lies behind it."""
    row = (await connection.execute(_HERE)).one()
    return Place(row.at, Snapshot.from_postgres(row.snapshot))


async def read_news(
    connection: AsyncConnection,
    sealer: Sealer,
    tenant: UUID,
    place: Place,
    *,
    ids: Collection[UUID] | None,
    limit: int,
) -> News:
    """Read the next changes behind a place, of these messages or of all."""
    now = await here(connection) if place.ahead is None else Place(place.at, place.ahead)
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
    places = [Place(now.at, place.seen, now.seen, row.sequence) for row in rows]
    is_all = len(rows) < limit
    changes = await _with_messages(connection, sealer, tenant, rows, places)
    return News(changes, now if is_all else places[-1], is_all)


async def read_opening(
    connection: AsyncConnection, sealer: Sealer, tenant: UUID, ids: Collection[UUID]
) -> tuple[list[StatusChange], Place]:
    """Read how messages came to their present state, and the place behind that."""
    place = await here(connection)
    latest = (
        select(message_events)
        .ext(distinct_on(message_events.c.message_id))
        .where(message_events.c.tenant_id == tenant, message_events.c.message_id.in_(ids), _shown(place.seen))
        .order_by(message_events.c.message_id, message_events.c.sequence.desc())
    )
    rows = (await connection.execute(latest)).all()
    # Whoever leaves before the last of them has to begin anew.
    unfinished = Place(place.at, place.seen, is_opening=True)
    places = [*[unfinished] * (len(rows) - 1), place]
    return await _with_messages(connection, sealer, tenant, rows, places, is_opening=True), place


async def check_kept(connection: AsyncConnection, tenant: UUID, place: Place) -> None:
    """Make sure that everything behind a place can still be told. Raises CursorExpired."""
    now = await here(connection)
    age = now.at - place.at
    # A place this database has not come to yet is of another one, from before a backup was restored.
    is_lost = place.newest.xmax > now.seen.xmax or age > _FORGOTTEN.total_seconds()
    if not is_lost and age > KEPT.total_seconds():
        # Nothing may have happened meanwhile, and then nothing is missed, however old the cursor.
        missed = select(message_events.c.sequence).where(
            message_events.c.tenant_id == tenant, _not_shown(place.seen), message_events.c.at < func.now() - KEPT
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
    places: Sequence[Place],
    *,
    is_opening: bool = False,
) -> list[StatusChange]:
    if not rows:
        return []
    found = await read.by_ids(connection, sealer, tenant, {row.message_id for row in rows})
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
