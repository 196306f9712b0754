"""Reading messages, their attempts and events, and what each step of a route has come to: one statement for each kind.

Ids are UUIDs of version 7: the order of ids is the order of time, and the cursor of a page is an id. Sealed columns are
read only if they are asked for.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

import structlog
from sqlalchemy import ColumnElement, Row, Select, func, or_, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from core.messages.provider_ids import open_id_or_none
from core.messages.state_machine import can_be_canceled
from core.messages.status import (
    AttemptOutcome,
    Direction,
    EventSource,
    MessageStatus,
    ProviderId,
    RouteGoal,
    RouteOutcome,
    Step,
    has_room,
    latest_round,
    public_status,
    route_from_json,
)
from core.messages.tables import attempts, external_ids, message_events, messages
from core.pagination import PageRequest, TimeRange, in_range, read_page, storable
from core.ports import Channel, Content, Failure, ReportedStatus
from core.ports.content import Filled, content_from_json, filled_from_json
from core.ports.reports import failure_from_json
from core.sealing import SealBroken, Sealer

log = structlog.get_logger(__name__)

Part = TypeVar("Part")

SEALED = {"content": "content_sealed", "to": "to_sealed", "from": "from_sealed"}
"""The sealed columns that can be asked for, by name."""

_PLAIN = [column for column in messages.columns if not column.name.endswith(("_sealed", "_hash", "_by"))]


@dataclass(frozen=True, slots=True)
class Message:
    """A message as it is; `content`, `to` and `sender` are None unless they were asked for and are not erased.

    `filled` comes with the content of a message that was made from a template.
    """

    id: UUID
    direction: Direction
    status: MessageStatus
    channel: Channel
    route: Sequence[Step]
    step: int
    to_masked: str
    failure: Failure | None
    send_at: datetime | None
    next_attempt_at: datetime | None
    expires_at: datetime | None
    external_id: str | None
    batch_id: UUID | None
    created_at: datetime
    updated_at: datetime
    sent_at: datetime | None
    delivered_at: datetime | None
    read_at: datetime | None
    next_look_at: datetime | None = None
    template_id: UUID | None = None
    content: Content | None = None
    filled: Filled | None = None
    to: str | None = None
    sender: str | None = None
    from_masked: str | None = None
    in_reply_to: UUID | None = None
    erased_at: datetime | None = None
    unreadable: Mapping[str, str | None] = field(default_factory=dict)
    """The sealed parts that cannot be opened in this process, each with the key that is missing, if one is."""


@dataclass(frozen=True, slots=True)
class MessageFilter:
    """All given conditions must hold; a list holds when any of its values does. `created_before` is not in it."""

    channels: Sequence[Channel] | None = None
    statuses: Sequence[MessageStatus] | None = None
    direction: Direction | None = None
    created_from: datetime | None = None
    created_before: datetime | None = None
    batches: Sequence[UUID] | None = None
    to_hashes: Sequence[bytes] | None = None
    """Look-up hashes of recipients, as `Person.hashes` makes them."""
    from_hashes: Sequence[bytes] | None = None
    external_id: str | None = None

    def within(self, batch_id: UUID) -> "MessageFilter":
        """The same filter, within one batch."""
        is_ruled_out = self.batches is not None and batch_id not in self.batches
        return replace(self, batches=[] if is_ruled_out else [batch_id])


@dataclass(frozen=True, slots=True)
class MessagePage:
    """Messages, newest first; `has_more` refers to the direction that was read."""

    items: Sequence[Message]
    has_more: bool


async def messages_by_id(
    connection: AsyncConnection, sealer: Sealer, tenant: UUID, ids: Collection[UUID], *, sealed: Collection[str] = ()
) -> dict[UUID, Message]:
    """Read messages of a tenant by id; leaves out ids that it does not have."""
    rows = await connection.execute(_select(sealed).where(messages.c.tenant_id == tenant, messages.c.id.in_(ids)))
    return {row.id: _message(row, sealer, tenant) for row in rows}


async def existing_ids(connection: AsyncConnection, tenant: UUID, ids: Collection[UUID]) -> set[UUID]:
    """Return those ids that are messages of a tenant."""
    rows = await connection.execute(select(messages.c.id).where(messages.c.tenant_id == tenant, messages.c.id.in_(ids)))
    return set(rows.scalars())


async def messages_page(
    connection: AsyncConnection,
    sealer: Sealer,
    tenant: UUID,
    which: PageRequest,
    condition: MessageFilter,
    *,
    sealed: Collection[str] = (),
) -> MessagePage:
    """Read one page of a tenant's messages, newest first."""
    statement = _filtered(_select(sealed), tenant, condition)
    rows, has_more = await read_page(connection, statement, messages.c.id, which)
    return MessagePage([_message(row, sealer, tenant) for row in rows], has_more)


async def count_messages(connection: AsyncConnection, tenant: UUID, condition: MessageFilter) -> int:
    """Count a tenant's messages that meet the filter."""
    statement = _filtered(select(func.count()).select_from(messages), tenant, condition)
    found: int = (await connection.execute(statement)).scalar_one()
    return found


def _select(sealed: Collection[str]) -> Select[Any]:
    return select(*_PLAIN, *(messages.c[SEALED[name]] for name in sealed))


def _filtered(statement: Select[Any], tenant: UUID, condition: MessageFilter) -> Select[Any]:
    statement = statement.where(messages.c.tenant_id == tenant)
    if condition.channels is not None:
        statement = statement.where(messages.c.channel.in_({channel.value for channel in condition.channels}))
    if condition.statuses is not None:
        statement = statement.where(_stands(condition.statuses))
    if condition.direction is not None:
        statement = statement.where(messages.c.direction == condition.direction.value)
    if condition.batches is not None:
        statement = statement.where(messages.c.batch_id.in_(condition.batches))
    if condition.to_hashes is not None:
        statement = statement.where(messages.c.to_hash.in_(condition.to_hashes))
    if condition.from_hashes is not None:
        statement = statement.where(messages.c.from_hash.in_(condition.from_hashes))
    if condition.external_id is not None:
        named = select(external_ids.c.message_id).where(
            external_ids.c.tenant_id == tenant, external_ids.c.external_id.in_(storable([condition.external_id]))
        )
        statement = statement.where(messages.c.id.in_(named))
    span = TimeRange(condition.created_from, condition.created_before)
    return in_range(statement, span, messages.c.created_at, messages.c.id)


def _stands(statuses: Collection[MessageStatus]) -> ColumnElement[bool]:
    sent = {status.value for status in statuses if status is not MessageStatus.RECEIVED}
    stands = messages.c.status.in_(sent) & (messages.c.direction == Direction.OUTBOUND.value)
    if MessageStatus.RECEIVED not in statuses:
        return stands
    # As `public_status` shows it.
    is_inbound = messages.c.status.in_([MessageStatus.DELIVERED.value, MessageStatus.RECEIVED.value])
    return or_(stands, is_inbound & (messages.c.direction == Direction.INBOUND.value))


@dataclass(frozen=True, slots=True)
class _SealedParts:
    """Opens the sealed parts of one row; records those that cannot be opened, and the page is read without them."""

    row: Row[Any]
    sealer: Sealer
    tenant: UUID
    unreadable: dict[str, str | None] = field(default_factory=dict)

    def open(self, name: str, read: Callable[[str], Part]) -> Part | None:
        sealed: bytes | None = getattr(self.row, SEALED[name], None)
        if sealed is None:
            return None
        try:
            return read(self.sealer.open(sealed, tenant=self.tenant, row=self.row.id, column=name))
        except Exception as error:  # noqa: BLE001  # a missing key, an altered row, a later version's
            self.unreadable[name] = self.sealer.missing_key(sealed)
            reason = str(error) if isinstance(error, SealBroken) else type(error).__name__
            log.warning("message_unreadable", message_id=str(self.row.id), reason=reason)
            return None


def _message(row: Row[Any], sealer: Sealer, tenant: UUID) -> Message:
    parts = _SealedParts(row, sealer, tenant)
    content = parts.open("content", lambda text: (content_from_json(text), filled_from_json(text)))
    return Message(
        id=row.id,
        direction=Direction(row.direction),
        status=public_status(MessageStatus(row.status), Direction(row.direction)),
        channel=Channel(row.channel),
        route=route_from_json(row.route),
        step=row.step,
        to_masked=row.to_masked,
        failure=failure_from_json(row.failure),
        send_at=row.send_at,
        # Messages of other statuses have a due time, too, but no attempt follows at it.
        next_attempt_at=row.due_at if row.status == MessageStatus.QUEUED else None,
        next_look_at=row.due_at if row.status == MessageStatus.UNCONFIRMED else None,
        expires_at=row.expires_at,
        external_id=row.external_id,
        batch_id=row.batch_id,
        created_at=row.created_at,
        updated_at=row.updated_at,
        sent_at=row.sent_at,
        delivered_at=row.delivered_at,
        read_at=row.read_at,
        template_id=row.template_id,
        filled=None if content is None else content[1],
        content=None if content is None else content[0],
        to=parts.open("to", str),
        sender=parts.open("from", str),
        from_masked=row.from_masked,
        in_reply_to=row.in_reply_to,
        erased_at=row.erased_at,
        unreadable=parts.unreadable,
    )


# ─── Attempts and events ──────────────────────────────────────────────────


_MAY_HAVE_BEEN_SENT = frozenset({AttemptOutcome.ACCEPTED, AttemptOutcome.UNCONFIRMED, AttemptOutcome.IN_FLIGHT})


@dataclass(frozen=True, slots=True)
class AttemptView:
    """One call to a provider; `duration_ms` once it has ended."""

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
    def may_have_been_sent(self) -> bool:
        """Whether a provider accepted it, may have, or is being called."""
        return self.rank > 0 or self.outcome in _MAY_HAVE_BEEN_SENT


@dataclass(frozen=True, slots=True)
class EventView:
    """One event; `previous_status` equals `status` when it changed nothing."""

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
    """Read the attempts that began, by message, oldest first; leaves out provider ids that cannot be opened."""
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
    """Read some of each message's events, oldest first, and one more than the limit where there are more."""
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


async def events_by_sequence(
    connection: AsyncConnection, tenant: UUID, places: Collection[tuple[UUID, int]]
) -> dict[tuple[UUID, int], EventView]:
    """Read a tenant's events by message and sequence; leaves out those that it does not have."""
    events = message_events.c
    rows = await connection.execute(
        select(message_events).where(
            events.tenant_id == tenant, tuple_(events.message_id, events.sequence).in_(list(places))
        )
    )
    return {(row.message_id, row.sequence): event_view(row) for row in rows}


def _public_event_status(row: Row[Any]) -> MessageStatus:
    """The status an event led to. Only of an inbound message the first event says DELIVERED."""
    status = MessageStatus(row.status)
    is_inbound = row.previous_status is None and status is MessageStatus.DELIVERED
    return MessageStatus.RECEIVED if is_inbound else status


def event_view(row: Row[Any]) -> EventView:
    """Read an event's row."""
    return EventView(
        message_id=row.message_id,
        sequence=row.sequence,
        status=_public_event_status(row),
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
        provider_message_id=open_id_or_none(sealer, ProviderId.of_row(row), row.tenant_id, row.message_id, row.number),
        failure=failure_from_json(row.failure),
        answer=row.answer,
        started_at=row.started_at,
        duration_ms=took,
        step=row.step,
        rank=row.rank,
    )


# ─── Outcomes of steps ────────────────────────────────────────────────────


_GOALS = {RouteGoal.SENT: ReportedStatus.SENT.rank, RouteGoal.DELIVERED: ReportedStatus.DELIVERED.rank}
_ENDED = frozenset(
    {MessageStatus.FAILED, MessageStatus.CANCELED, MessageStatus.DELIVERED, MessageStatus.READ, MessageStatus.RECEIVED}
)
# The outcome of the current step by the message's status, unless a report says more; otherwise it is being tried.
_CURRENT_OUTCOME = {
    MessageStatus.SCHEDULED: RouteOutcome.WAITING,
    MessageStatus.UNCONFIRMED: RouteOutcome.UNCONFIRMED,
    MessageStatus.FAILED: RouteOutcome.FAILED,
    MessageStatus.CANCELED: RouteOutcome.SKIPPED,
    # An inbound message was delivered without a call.
    MessageStatus.RECEIVED: RouteOutcome.DELIVERED,
    MessageStatus.DELIVERED: RouteOutcome.DELIVERED,
    MessageStatus.READ: RouteOutcome.DELIVERED,
}


def step_outcomes(message: Message, attempts: Sequence[AttemptView]) -> list[RouteOutcome]:
    """The outcome of each step, in the order of the route."""
    tried = [[one for one in attempts if one.step == number] for number in range(len(message.route))]
    return [_outcome(message, number, those) for number, those in enumerate(tried)]


def _outcome(message: Message, number: int, tried: Sequence[AttemptView]) -> RouteOutcome:
    if _has_reached(message.route[number].until, [one.rank for one in tried]):
        return RouteOutcome.DELIVERED
    if number > message.step and tried and all(_has_failed(one) or _is_unconfirmed([one]) for one in tried):
        # An earlier step has the message after all.
        return RouteOutcome.UNCONFIRMED if _is_unconfirmed(tried) else RouteOutcome.FAILED
    if number > message.step:
        is_over = message.status in _ENDED or _is_settled(message)
        return RouteOutcome.SKIPPED if is_over else RouteOutcome.WAITING
    if number < message.step:
        return RouteOutcome.UNCONFIRMED if _is_unconfirmed(tried) else RouteOutcome.FAILED
    return _CURRENT_OUTCOME.get(message.status, RouteOutcome.TRYING)


def _has_reached(goal: RouteGoal, ranks: Sequence[int]) -> bool:
    # FAILED ranks above SENT and below DELIVERED, and is neither.
    return any(rank >= _GOALS[goal] and rank != ReportedStatus.FAILED.rank for rank in ranks)


def _is_settled(message: Message) -> bool:
    """Whether its current step has reached its goal, so that no other will be tried."""
    return message.status is MessageStatus.SENT and message.route[message.step].until is RouteGoal.SENT


def _has_failed(one: AttemptView) -> bool:
    refused = one.outcome in (AttemptOutcome.REJECTED, AttemptOutcome.UNAVAILABLE)
    return one.rank == ReportedStatus.FAILED.rank or (refused and one.rank == 0)


def _is_unconfirmed(tried: Sequence[AttemptView]) -> bool:
    return bool(tried) and tried[-1].rank == 0 and tried[-1].outcome is AttemptOutcome.UNCONFIRMED


def needs_attempts(message: Message) -> bool:
    """Whether `can_cancel` needs the message's attempts."""
    return message.direction is Direction.OUTBOUND and message.status is MessageStatus.QUEUED


def can_cancel(message: Message, attempts: Sequence[AttemptView]) -> bool:
    """Whether it can be canceled: nothing of it was sent, or may have been."""
    return message.direction is Direction.OUTBOUND and can_be_canceled(message.status, attempts)


def can_retry(message: Message) -> bool:
    """Whether a retry over its latest route can be requested."""
    has_failed = message.direction is Direction.OUTBOUND and message.status is MessageStatus.FAILED
    return has_failed and message.erased_at is None and has_room(message.route, latest_round(message.route))
