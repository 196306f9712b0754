"""Writing moves down: many messages locked in one order, then messages, attempts and events each in one go."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    BindParameter,
    Boolean,
    Case,
    Column,
    DateTime,
    Interval,
    Row,
    Text,
    Uuid,
    bindparam,
    case,
    cast,
    column,
    func,
    insert,
    or_,
    select,
    tuple_,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from core.messages.failures import failure_from_json, failure_to_json
from core.messages.tables import attempts, message_events, messages
from core.messages.transitions import Attempt, Move, Standing
from core.messages.values import AttemptOutcome, EventSource, MessageStatus
from core.pubsub import Change


class Key(NamedTuple):
    """A message's place."""

    tenant_id: UUID
    message_id: UUID


@dataclass(frozen=True, slots=True)
class Noted:
    """One thing that happened, and the move it made; without a move it is only noted. `attempt` is its number."""

    key: Key
    before: Standing
    move: Move | None
    attempt: int
    source: EventSource
    detail: str | None = None
    has_ended: bool = False


async def lock_standings(connection: AsyncConnection, keys: Collection[Key]) -> dict[Key, Standing]:
    """Lock messages until the end of the transaction and read where they stand. What does not exist is left out."""
    tenants, ids = [key.tenant_id for key in keys], [key.message_id for key in keys]
    wanted = (
        func.unnest(cast(tenants, ARRAY(Uuid)), cast(ids, ARRAY(Uuid)))
        .table_valued(column("tenant_id", Uuid), column("id", Uuid), name="wanted")
        .render_derived()
    )
    chosen = select(wanted.c.tenant_id, wanted.c.id)
    locked = await connection.execute(
        select(messages)
        .where(tuple_(messages.c.tenant_id, messages.c.id).in_(chosen))
        .with_only_columns(*(messages.c[name] for name in ("tenant_id", "id", "status", "step", "route", "failure")))
        # One order for everybody: two batches that share messages wait for each other instead of deadlocking.
        .order_by(messages.c.tenant_id, messages.c.id)
        .with_for_update()
    )
    rows = locked.all()
    tried = await connection.execute(
        select(attempts).where(tuple_(attempts.c.tenant_id, attempts.c.message_id).in_(chosen))
    )
    by_message: dict[Key, dict[int, Attempt]] = {}
    for row in tried:
        by_message.setdefault(Key(row.tenant_id, row.message_id), {})[row.number] = _attempt(row)
    return {key: _standing(row, by_message.get(key, {})) for row in rows if (key := Key(row.tenant_id, row.id))}


def _attempt(row: Row[Any]) -> Attempt:
    outcome, failure = AttemptOutcome(row.outcome), failure_from_json(row.failure)
    return Attempt(row.number, row.step, outcome, row.rank, row.provider_message_id, failure)


def _standing(row: Row[Any], tried: Mapping[int, Attempt]) -> Standing:
    channels = [step["channel"] for step in row.route]
    return Standing(MessageStatus(row.status), row.step, channels, tried, failure_from_json(row.failure))


async def write_moves(connection: AsyncConnection, noted: Sequence[Noted]) -> list[Change]:
    """Write what happened, in the given order, to messages locked before; returns what to tell listeners."""
    moves = [(one, one.move) for one in noted if one.move is not None]
    if moves:
        await connection.execute(_MOVE_MESSAGE, [_message_values(one.key, move) for one, move in moves])
        await connection.execute(_MOVE_ATTEMPT, [_attempt_values(one, move) for one, move in moves])
    await connection.execute(insert(message_events), [_event_values(one) for one in noted])
    return [Change(*key) for key in dict.fromkeys(one.key for one in noted)]


_STANDING_KEPT = bindparam("is_parted", type_=Boolean)
_new_status: BindParameter[str] = bindparam("new_status", type_=Text)


def _first_reached(at: Column[datetime], *statuses: MessageStatus) -> Case[datetime]:
    """The moment a message first came to one of these statuses."""
    is_reached = or_(*(_new_status == status.value for status in statuses))
    return case((is_reached, func.coalesce(at, func.now())), else_=at)


_MOVE_MESSAGE = (
    update(messages)
    .where(messages.c.tenant_id == bindparam("of_tenant"), messages.c.id == bindparam("of_message"))
    .values(
        status=_new_status,
        step=bindparam("new_step"),
        channel=func.jsonb_extract_path_text(messages.c.route, bindparam("new_step_text"), "channel"),
        failure=bindparam("new_failure", type_=messages.c.failure.type),
        due_at=case(
            (_STANDING_KEPT, messages.c.due_at),
            else_=func.now() + bindparam("due_in", type_=Interval),
        ),
        lease_until=case((_STANDING_KEPT, messages.c.lease_until), else_=cast(None, DateTime(timezone=True))),
        updated_at=func.now(),
        sent_at=_first_reached(messages.c.sent_at, MessageStatus.SENT, MessageStatus.DELIVERED, MessageStatus.READ),
        delivered_at=_first_reached(messages.c.delivered_at, MessageStatus.DELIVERED, MessageStatus.READ),
        read_at=_first_reached(messages.c.read_at, MessageStatus.READ),
    )
)

_MOVE_ATTEMPT = (
    update(attempts)
    .where(
        attempts.c.tenant_id == bindparam("of_tenant"),
        attempts.c.message_id == bindparam("of_message"),
        attempts.c.number == bindparam("of_number"),
    )
    .values(
        outcome=bindparam("new_outcome"),
        # Belt and braces: whatever order two writers come in, a report never lowers what is known.
        rank=func.greatest(attempts.c.rank, bindparam("new_rank")),
        provider_message_id=func.coalesce(bindparam("new_provider_message_id"), attempts.c.provider_message_id),
        failure=bindparam("new_failure", type_=attempts.c.failure.type),
        finished_at=case(
            (bindparam("has_ended", type_=Boolean), func.coalesce(attempts.c.finished_at, func.now())),
            else_=attempts.c.finished_at,
        ),
    )
)


def _message_values(key: Key, move: Move) -> Mapping[str, Any]:
    standing = move.standing
    return {
        "of_tenant": key.tenant_id,
        "of_message": key.message_id,
        "new_status": standing.status.value,
        "new_step": standing.step,
        "new_step_text": str(standing.step),
        "new_failure": failure_to_json(standing.failure),
        "is_parted": move.is_parted,
        "due_in": move.due_in,
    }


def _attempt_values(one: Noted, move: Move) -> Mapping[str, Any]:
    attempt = move.standing.attempts[one.attempt]
    return {
        "of_tenant": one.key.tenant_id,
        "of_message": one.key.message_id,
        "of_number": one.attempt,
        "new_outcome": attempt.outcome.value,
        "new_rank": attempt.rank,
        "new_provider_message_id": attempt.provider_message_id,
        "new_failure": failure_to_json(attempt.failure),
        "has_ended": one.has_ended,
    }


def _event_values(one: Noted) -> Mapping[str, Any]:
    after = one.before if one.move is None else one.move.standing
    return {
        "tenant_id": one.key.tenant_id,
        "message_id": one.key.message_id,
        "status": after.status.value,
        "previous_status": one.before.status.value,
        "channel": one.before.channels[one.before.attempts[one.attempt].step],
        "attempt": one.attempt,
        "detail": one.detail,
        "source": one.source.value,
    }
