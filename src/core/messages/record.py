"""Reading the states of locked messages, and recording transitions: messages, attempts and events in few statements.

Messages are always locked in one order, so that two transactions wait for each other instead of deadlocking.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    BindParameter,
    Boolean,
    Case,
    Column,
    ColumnElement,
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
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncConnection

from core.claims import held_values, lock_held
from core.dead_letters.store import NewDeadLetter, Resolution, add_dead_letters, close_for_subjects
from core.errors import FailureParty
from core.messages.state_machine import Attempt, MessageState, Transition
from core.messages.status import (
    MESSAGE_SEND,
    AttemptOutcome,
    Direction,
    EventSource,
    MessageStatus,
    ProviderId,
    public_status,
    route_from_json,
    route_to_json,
)
from core.messages.tables import MESSAGES, attempts, message_events, messages
from core.nouns import SubjectKey
from core.ports.reports import failure_from_json, failure_to_json
from core.ports.sending import MESSAGE
from core.pubsub import Change


class MessageKey(NamedTuple):
    """A message's primary key."""

    tenant_id: UUID
    message_id: UUID


@dataclass(frozen=True, slots=True)
class EventRecord:
    """One event of a message, and the transition it caused; without a transition only the event is recorded.

    `attempt` is the number of the one it is about, None when it is about the message alone.
    """

    key: MessageKey
    before: MessageState
    transition: Transition | None
    source: EventSource
    attempt: int | None = None
    integration: str | None = None
    detail: str | None = None
    # The duration of the call, once it has ended.
    took: timedelta | None = None
    # Whether an event is written: a look that found nothing new is not logged.
    is_logged: bool = True
    # Whether its attempt becomes unconfirmed again; every other record only moves an attempt forward.
    is_withdrawn: bool = False


async def lock_leased(connection: AsyncConnection, tokens: Mapping[MessageKey, int]) -> dict[MessageKey, MessageState]:
    """Lock messages that this worker has leased and read their states; leaves out those whose lease it has lost."""
    rows = await connection.execute(_LOCK_HELD, held_values(tokens.items()))
    ours = [MessageKey(row.tenant_id, row.id) for row in rows]
    return await lock_states(connection, ours) if ours else {}


async def lock_states(connection: AsyncConnection, keys: Collection[MessageKey]) -> dict[MessageKey, MessageState]:
    """Lock messages until the end of the transaction and read their states; leaves out those that do not exist."""
    wanted = {"tenants": [key.tenant_id for key in keys], "ids": [key.message_id for key in keys]}
    rows = (await connection.execute(_LOCK, wanted)).all()
    tried = await connection.execute(_ATTEMPTS, wanted)
    by_message: dict[MessageKey, dict[int, Attempt]] = {}
    for row in tried:
        by_message.setdefault(MessageKey(row.tenant_id, row.message_id), {})[row.number] = _attempt(row)
    return {key: _state(row, by_message.get(key, {})) for row in rows if (key := MessageKey(row.tenant_id, row.id))}


_chosen = (
    func.unnest(bindparam("tenants", type_=ARRAY(Uuid)), bindparam("ids", type_=ARRAY(Uuid)))
    .table_valued(column("tenant_id", Uuid), column("id", Uuid), name="wanted")
    .render_derived()
)
_WANTED = select(_chosen.c.tenant_id, _chosen.c.id)
_STATE_COLUMNS = ("tenant_id", "id", "direction", "status", "step", "route", "failure", "simulated_only", "erased_at")
_LOCK = (
    select(*(messages.c[name] for name in _STATE_COLUMNS), (messages.c.expires_at <= func.now()).label("is_expired"))
    .where(tuple_(messages.c.tenant_id, messages.c.id).in_(_WANTED))
    # The one order of locks: see the docstring of the module.
    .order_by(messages.c.tenant_id, messages.c.id)
    .with_for_update()
)
_LOCK_HELD = lock_held(MESSAGES)
# A claim that was never begun is no attempt.
_ATTEMPTS = select(attempts).where(
    tuple_(attempts.c.tenant_id, attempts.c.message_id).in_(_WANTED), attempts.c.started_at.is_not(None)
)


def _attempt(row: Row[Any]) -> Attempt:
    outcome, failure = AttemptOutcome(row.outcome), failure_from_json(row.failure)
    named, answer = ProviderId.of_row(row), row.answer
    return Attempt(row.number, row.step, outcome, row.rank, named, failure, answer, row.is_from_list)


def _state(row: Any, tried: Mapping[int, Attempt]) -> MessageState:
    route = route_from_json(row.route)
    failure, is_erased = failure_from_json(row.failure), row.erased_at is not None
    # Inbound messages have no transitions; their status is only shown.
    status, is_expired = public_status(MessageStatus(row.status), Direction(row.direction)), bool(row.is_expired)
    return MessageState(status, row.step, route, tried, failure, row.simulated_only, is_erased, is_expired)


async def write_transitions(connection: AsyncConnection, records: Sequence[EventRecord]) -> list[Change]:
    """Write events and transitions of locked messages, in the given order, and return what to publish."""
    transitions = [(one, one.transition) for one in records if one.transition is not None]
    logged = [one for one in records if one.is_logged]
    about = [(one, transition, one.attempt) for one, transition in transitions if one.attempt is not None]
    is_usual = not any(one.is_withdrawn for one in records)
    if is_usual and about and len(about) == len(transitions) == len(logged) == len(records):
        # The usual case, calls that have ended: message, attempt and event in one statement.
        await connection.execute(_WRITE_ALL, [_all_values(*each) for each in about])
    else:
        await _write_separately(connection, transitions, about, logged)
    await add_dead_letters(
        connection,
        [
            _dead_letter(one, transition.state)
            for one, transition in transitions
            if _is_dead_letter(one, transition.state)
        ],
    )
    await _close_revived(connection, transitions)
    return [Change(*key) for key in dict.fromkeys(one.key for one in logged)]


async def _write_separately(
    connection: AsyncConnection,
    transitions: Sequence[tuple[EventRecord, Transition]],
    about: Sequence[tuple[EventRecord, Transition, int]],
    logged: Sequence[EventRecord],
) -> None:
    if transitions:
        await connection.execute(_UPDATE_MESSAGE, [_message_values(one, transition) for one, transition in transitions])
    # An id may be withdrawn from an attempt before another one gets it: the order is kept.
    for is_withdrawn, some in groupby(about, lambda each: each[0].is_withdrawn):
        values = [_attempt_values(*each) for each in some]
        await connection.execute(_WITHDRAW if is_withdrawn else _UPDATE_ATTEMPT, values)
    if back := [{"of_tenant": one.key[0], "of_message": one.key[1]} for one, _ in transitions if one.is_withdrawn]:
        await connection.execute(_CLEAR_TIMES, back)
    if logged:
        await connection.execute(_INSERT_EVENT, [_event_values(one) for one in logged])


_FIXED_BY_OPERATORS = frozenset({FailureParty.OPERATOR, FailureParty.PROVIDER})


def _is_dead_letter(one: EventRecord, after: MessageState) -> bool:
    """Whether an operator could still do something about a failure; nothing helps against a wrong number."""
    has_failed = after.status is MessageStatus.FAILED is not one.before.status
    return has_failed and after.failure is not None and after.failure.party in _FIXED_BY_OPERATORS


def _dead_letter(one: EventRecord, after: MessageState) -> NewDeadLetter:
    integration = None if one.attempt is None else one.integration
    words = after.failure.message if after.failure else ""
    subject = SubjectKey(MESSAGE, one.key.message_id)
    return NewDeadLetter(one.key.tenant_id, MESSAGE_SEND, words, len(after.attempts), integration, subject)


async def _close_revived(connection: AsyncConnection, transitions: Sequence[tuple[EventRecord, Transition]]) -> None:
    """Close the dead letters of messages that had failed and are sent again, or were delivered after all."""
    revived: dict[Resolution, list[MessageKey]] = {}
    for one, transition in transitions:
        if one.before.status is MessageStatus.FAILED is not transition.state.status:
            goes_on = transition.state.status is MessageStatus.QUEUED
            revived.setdefault(Resolution.REQUEUED if goes_on else Resolution.SETTLED, []).append(one.key)
    for resolution, keys in revived.items():
        await close_for_subjects(connection, MESSAGE_SEND, keys, resolution)


_IS_ATTEMPT_ONLY = bindparam("is_attempt_only", type_=Boolean)
_new_status: BindParameter[str] = bindparam("new_status", type_=Text)
_IN = func.now() + bindparam("due_in", type_=Interval)
_NO_TIME = cast(None, DateTime(timezone=True))


def _first_reached(at: Column[datetime], *statuses: MessageStatus) -> Case[datetime]:
    """The moment at which a message first reached one of these statuses."""
    is_reached = or_(*(_new_status == status.value for status in statuses))
    return case((is_reached, func.coalesce(at, func.now())), else_=at)


def _unless_attempt_only(at: Column[datetime], otherwise: ColumnElement[Any]) -> Case[Any]:
    return case((_IS_ATTEMPT_ONLY, at), else_=otherwise)


# A step's deadline counts from the moment it begins; a message that has ended has no deadlines.
_STEP_UNTIL = case(
    (bindparam("is_step_new", type_=Boolean), func.now() + bindparam("within", type_=Interval)),
    (bindparam("keeps_deadline", type_=Boolean), messages.c.step_until),
    else_=_NO_TIME,
)
_DUE_AT = case(
    # Due no later than its deadline, so that the deadline is noticed.
    (_new_status == MessageStatus.QUEUED.value, func.least(_IN, _STEP_UNTIL, messages.c.expires_at)),
    (_new_status == MessageStatus.SENT.value, _STEP_UNTIL),
    else_=_IN,
)
_UNCONFIRMED_AT = case(
    (_new_status == MessageStatus.UNCONFIRMED.value, func.coalesce(messages.c.unconfirmed_at, func.now())),
    else_=_NO_TIME,
)

_UPDATE_MESSAGE = (
    update(messages)
    .where(messages.c.tenant_id == bindparam("of_tenant"), messages.c.id == bindparam("of_message"))
    .values(
        status=_new_status,
        # Only a retry changes the route.
        route=func.coalesce(bindparam("new_route", type_=JSONB(none_as_null=True)), messages.c.route),
        step=bindparam("new_step"),
        channel=bindparam("new_channel"),
        failure=bindparam("new_failure", type_=messages.c.failure.type),
        due_at=_unless_attempt_only(messages.c.due_at, _DUE_AT),
        step_until=_unless_attempt_only(messages.c.step_until, _STEP_UNTIL),
        unconfirmed_at=_unless_attempt_only(messages.c.unconfirmed_at, _UNCONFIRMED_AT),
        lease_until=_unless_attempt_only(messages.c.lease_until, _NO_TIME),
        updated_at=func.now(),
        sent_at=_first_reached(messages.c.sent_at, MessageStatus.SENT, MessageStatus.DELIVERED, MessageStatus.READ),
        delivered_at=_first_reached(messages.c.delivered_at, MessageStatus.DELIVERED, MessageStatus.READ),
        read_at=_first_reached(messages.c.read_at, MessageStatus.READ),
    )
)

_UPDATE_ATTEMPT = (
    update(attempts)
    .where(
        attempts.c.tenant_id == bindparam("of_tenant"),
        attempts.c.message_id == bindparam("of_message"),
        attempts.c.number == bindparam("of_number"),
    )
    .values(
        outcome=bindparam("new_outcome"),
        # In whichever order two transactions write, a rank never gets lower.
        rank=func.greatest(attempts.c.rank, bindparam("new_rank")),
        provider_id_sealed=func.coalesce(bindparam("new_sealed"), attempts.c.provider_id_sealed),
        provider_id_lookup=func.coalesce(bindparam("new_lookup"), attempts.c.provider_id_lookup),
        provider_message_id=func.coalesce(bindparam("new_clear"), attempts.c.provider_message_id),
        # The attempt's failure, which may differ from its message's.
        failure=bindparam("attempt_failure", type_=attempts.c.failure.type),
        is_from_list=bindparam("new_is_from_list"),
        answer=func.coalesce(bindparam("new_answer"), attempts.c.answer),
        # Not the time of writing: the database may have been away in between.
        finished_at=func.coalesce(attempts.c.started_at + bindparam("took", type_=Interval), attempts.c.finished_at),
    )
)


_WITHDRAW = (
    update(attempts)
    .where(
        attempts.c.tenant_id == bindparam("of_tenant"),
        attempts.c.message_id == bindparam("of_message"),
        attempts.c.number == bindparam("of_number"),
    )
    .values(
        outcome=bindparam("new_outcome"),
        rank=bindparam("new_rank"),
        provider_id_sealed=None,
        provider_id_lookup=None,
        provider_message_id=None,
        is_from_list=False,
        failure=bindparam("attempt_failure", type_=attempts.c.failure.type),
    )
)
_CLEAR_TIMES = (
    update(messages)
    .where(messages.c.tenant_id == bindparam("of_tenant"), messages.c.id == bindparam("of_message"))
    .values(
        sent_at=case((messages.c.status.in_(["SENT", "DELIVERED", "READ"]), messages.c.sent_at)),
        delivered_at=case((messages.c.status.in_(["DELIVERED", "READ"]), messages.c.delivered_at)),
        read_at=case((messages.c.status == "READ", messages.c.read_at)),
    )
)
_INSERT_EVENT = insert(message_events)
_EVENT = ("status", "previous_status", "channel", "attempt", "detail", "source")
_WRITE_ALL = (
    _INSERT_EVENT.values(
        tenant_id=bindparam("of_tenant"),
        message_id=bindparam("of_message"),
        **{name: bindparam(f"event_{name}", type_=message_events.c[name].type) for name in _EVENT},
    )
    .add_cte(_UPDATE_MESSAGE.cte("moved"))
    .add_cte(_UPDATE_ATTEMPT.cte("tried"))
)


def _message_values(one: EventRecord, transition: Transition) -> Mapping[str, Any]:
    after = transition.state
    is_queued, is_unconfirmed = after.status is MessageStatus.QUEUED, after.status is MessageStatus.UNCONFIRMED
    begins = is_queued and (one.before.step != after.step or one.before.status is MessageStatus.SCHEDULED)
    return {
        "of_tenant": one.key.tenant_id,
        "of_message": one.key.message_id,
        "new_status": after.status.value,
        "new_route": route_to_json(after.route) if len(after.route) != len(one.before.route) else None,
        "new_step": after.step,
        "new_channel": after.channel_of(None).value,
        "new_failure": failure_to_json(after.failure),
        "is_attempt_only": transition.is_attempt_only,
        "due_in": transition.due_in,
        "is_step_new": begins,
        # The last step has no deadline: no step follows it.
        "within": after.route[after.step].within if after.has_next else None,
        "keeps_deadline": after.has_next and (is_queued or is_unconfirmed or after.waits_for_goal),
    }


def _attempt_values(one: EventRecord, transition: Transition, number: int) -> Mapping[str, Any]:
    attempt = transition.state.attempts[number]
    kept = attempt.provider_id
    return {
        "of_tenant": one.key.tenant_id,
        "of_message": one.key.message_id,
        "of_number": number,
        "new_outcome": attempt.outcome.value,
        "new_rank": attempt.rank,
        "new_sealed": kept and kept.sealed,
        "new_lookup": kept and kept.lookup,
        "new_clear": kept and kept.clear,
        "attempt_failure": failure_to_json(attempt.failure),
        "new_is_from_list": attempt.is_from_list,
        "new_answer": attempt.answer,
        "took": one.took,
    }


def _all_values(one: EventRecord, transition: Transition, number: int) -> Mapping[str, Any]:
    event = _event_values(one)
    logged = {f"event_{name}": event[name] for name in _EVENT}
    return {**_message_values(one, transition), **_attempt_values(one, transition, number), **logged}


def _event_values(one: EventRecord) -> Mapping[str, Any]:
    after = one.before if one.transition is None else one.transition.state
    return {
        "tenant_id": one.key.tenant_id,
        "message_id": one.key.message_id,
        "status": after.status.value,
        "previous_status": one.before.status.value,
        "channel": after.channel_of(one.attempt).value,
        "attempt": one.attempt,
        "detail": one.detail,
        "source": one.source.value,
    }
