"""What happened to messages: their attempts and events, for many messages in one statement."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row, func, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from core.messages.failures import failure_from_json
from core.messages.provider_ids import ProviderId, opened_or_none
from core.messages.tables import attempts, message_events
from core.messages.values import AttemptOutcome, EventSource, MessageStatus
from core.ports import Channel, Failure
from core.sealing import Sealer

_PERHAPS_GONE = frozenset({AttemptOutcome.ACCEPTED, AttemptOutcome.UNCONFIRMED, AttemptOutcome.IN_FLIGHT})


@dataclass(frozen=True, slots=True)
class AttemptView:
    """One call to a company; `duration_ms` once it has ended."""

    message_id: UUID
    number: int
    channel: Channel
    integration: str
    outcome: AttemptOutcome
    provider_message_id: str | None
    failure: Failure | None
    answer: str | None
    started_at: datetime
    duration_ms: float | None
    step: int = 0
    rank: int = 0

    @property
    def may_have_left(self) -> bool:
        """Whether a company took it, or perhaps did, or is being asked to."""
        return self.rank > 0 or self.outcome in _PERHAPS_GONE


@dataclass(frozen=True, slots=True)
class EventView:
    """One thing that happened; `previous_status` equals `status` when it changed nothing."""

    message_id: UUID
    sequence: int
    status: MessageStatus
    previous_status: MessageStatus | None
    channel: Channel | None
    detail: str | None
    source: EventSource
    at: datetime


@dataclass(frozen=True, slots=True)
class EventSlice:
    """Which events of each message: `limit` after (or, reading backwards, before) a sequence, oldest first."""

    limit: int
    after: int | None = None
    before: int | None = None
    is_backward: bool = False


async def attempts_of(
    connection: AsyncConnection, sealer: Sealer, tenant: UUID, message_ids: Collection[UUID]
) -> dict[UUID, list[AttemptView]]:
    """Read the attempts that began, oldest first, by message; an id that cannot be opened is left out of its view."""
    rows = await connection.execute(
        select(attempts)
        .where(
            attempts.c.tenant_id == tenant,
            attempts.c.message_id.in_(message_ids),
            attempts.c.started_at.is_not(None),
        )
        .order_by(attempts.c.message_id, attempts.c.number)
    )
    found: dict[UUID, list[AttemptView]] = {}
    for row in rows:
        found.setdefault(row.message_id, []).append(_attempt(sealer, row))
    return found


async def events_of(
    connection: AsyncConnection, tenant: UUID, message_ids: Collection[UUID], which: EventSlice
) -> dict[UUID, list[EventView]]:
    """Read a slice of each message's events, one more than its limit where there are more; oldest first."""
    order = message_events.c.sequence.desc() if which.is_backward else message_events.c.sequence.asc()
    position = func.row_number().over(partition_by=message_events.c.message_id, order_by=order).label("position")
    numbered = select(message_events, position).where(
        message_events.c.tenant_id == tenant, message_events.c.message_id.in_(message_ids)
    )
    if which.after is not None:
        numbered = numbered.where(message_events.c.sequence > which.after)
    if which.before is not None:
        numbered = numbered.where(message_events.c.sequence < which.before)
    one = numbered.subquery("one")
    rows = await connection.execute(
        select(one).where(one.c.position <= which.limit + 1).order_by(one.c.message_id, one.c.position)
    )
    found: dict[UUID, list[EventView]] = {}
    for row in rows:
        found.setdefault(row.message_id, []).append(event_view(row))
    return found


async def events_by_place(
    connection: AsyncConnection, tenant: UUID, places: Collection[tuple[UUID, int]]
) -> dict[tuple[UUID, int], EventView]:
    """Read a tenant's events by message and sequence; those it does not have are left out."""
    events = message_events.c
    rows = await connection.execute(
        select(message_events).where(
            events.tenant_id == tenant, tuple_(events.message_id, events.sequence).in_(list(places))
        )
    )
    return {(row.message_id, row.sequence): event_view(row) for row in rows}


def _told(row: Row[Any]) -> MessageStatus:
    """The status an event led to. The first event of what came in says DELIVERED; of what goes out, never."""
    status = MessageStatus(row.status)
    came_in = row.previous_status is None and status is MessageStatus.DELIVERED
    return MessageStatus.RECEIVED if came_in else status


def event_view(row: Row[Any]) -> EventView:
    """Read an event's row."""
    return EventView(
        message_id=row.message_id,
        sequence=row.sequence,
        status=_told(row),
        previous_status=MessageStatus(row.previous_status) if row.previous_status else None,
        channel=Channel(row.channel) if row.channel else None,
        detail=row.detail,
        source=EventSource(row.source),
        at=row.at,
    )


def _attempt(sealer: Sealer, row: Row[Any]) -> AttemptView:
    took = (row.finished_at - row.started_at).total_seconds() * 1000 if row.finished_at else None
    return AttemptView(
        message_id=row.message_id,
        number=row.number,
        channel=Channel(row.channel),
        integration=row.integration,
        outcome=AttemptOutcome(row.outcome),
        provider_message_id=opened_or_none(sealer, ProviderId.of_row(row), row.tenant_id, row.message_id, row.number),
        failure=failure_from_json(row.failure),
        answer=row.answer,
        started_at=row.started_at,
        duration_ms=took,
        step=row.step,
        rank=row.rank,
    )
