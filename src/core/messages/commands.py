"""Commands on stored messages: canceling them, and settling unconfirmed ones by hand.

Repeated after its answer was lost, a command changes nothing and has the same answer. Settling by hand is a decision
about a message that may arrive twice or not at all; a later report still overrides it. What providers can say about
unconfirmed messages is used in `unconfirmed.py`.
"""

from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

from sqlalchemy import SmallInteger, Uuid, bindparam, select
from sqlalchemy import text as sql
from sqlalchemy.ext.asyncio import AsyncConnection

from core.audit.act import Act
from core.database import Database
from core.errors import AppError, InvalidState, NotFound
from core.messages.accept import Outbox
from core.messages.batch import batches_of
from core.messages.record import EventRecord, MessageKey, write_transitions
from core.messages.retry import Bounds, cannot_be_sent, lock_readable_state, lock_readable_states, out_of_reach
from core.messages.state_machine import (
    CANCELABLE,
    MessageState,
    Transition,
    can_be_canceled,
    canceled,
    send_again,
    settled_as_failed,
    settled_as_sent,
)
from core.messages.status import EventSource, MessageStatus
from core.messages.tables import message_events, messages
from core.ports.identity import UNRESTRICTED, Reach
from core.pubsub import Hub
from core.words import say

_CANCELED_DETAIL = "canceled before it was sent"


@dataclass(frozen=True, slots=True)
class BatchCanceled:
    """How many messages of a batch are canceled, and how many were sent, or may have been, before that."""

    canceled: int
    too_late: int


async def cancel_message(
    database: Database, hub: Hub, tenant: UUID, message_id: UUID, *, act: Act | None = None
) -> None:
    """Cancel a message; a canceled one stays canceled. Raises NotFound, and InvalidState when it is too late.

    A worker that has claimed it and not begun finds its lease gone; one that has begun holds the row's lock first, and
    then it is too late.
    """
    key = MessageKey(tenant, message_id)
    async with database.transaction(tenant) as connection:
        state = await lock_readable_state(connection, key)
        is_new = state.status is not MessageStatus.CANCELED
        if is_new and not can_be_canceled(state.status, state.attempts.values()):
            raise _too_late(state)
        records = [EventRecord(key, state, canceled(state), EventSource.API, detail=_CANCELED_DETAIL)] if is_new else []
        changes = await write_transitions(connection, records) if records else []
        if act is not None:
            await act.done(connection, "Message", [message_id] if is_new else [])
    await hub.publish(changes)


async def cancel_batch(
    database: Database, hub: Hub, tenant: UUID, batch_id: UUID, *, act: Act | None = None
) -> BatchCanceled:
    """Cancel all messages of a batch that were not sent, in one transaction; raises NotFound."""
    async with database.transaction(tenant) as connection:
        if batch_id not in await batches_of(connection, tenant, [batch_id]):
            raise NotFound(say("BATCH_NOT_FOUND", "There is no such batch."))
        chosen = select(messages.c.id).where(messages.c.tenant_id == tenant, messages.c.batch_id == batch_id)
        keys = [MessageKey(tenant, row.id) for row in await connection.execute(chosen)]
        # Messages that this version cannot read count as too late.
        states, _ = await lock_readable_states(connection, keys) if keys else ({}, ())
        records = [
            EventRecord(key, state, canceled(state), EventSource.API, detail=_CANCELED_DETAIL)
            for key, state in states.items()
            if can_be_canceled(state.status, state.attempts.values())
        ]
        changes = await write_transitions(connection, records) if records else []
        if act is not None:
            await act.done(connection, "MessageBatch", [batch_id] if records else [])
    await hub.publish(changes)
    before = sum(one.status is MessageStatus.CANCELED for one in states.values())
    return BatchCanceled(before + len(records), len(keys) - before - len(records))


def _too_late(state: MessageState) -> InvalidState:
    if state.status in CANCELABLE:
        text = say(
            "TOO_LATE_TAKEN",
            (
                "Too late to cancel: the provider accepted, or may have accepted, an earlier attempt. The "
                "following steps continue."
            ),
        )
    elif state.status is MessageStatus.UNCONFIRMED:
        text = say(
            "TOO_LATE_UNCONFIRMED",
            "Too late to cancel: the message is unconfirmed, so the provider may have accepted it.",
        )
    else:
        text = say(
            "TOO_LATE",
            "Too late to cancel: the message is {status}. Only a message that waits can be canceled.",
            status=state.status,
        )
    return InvalidState(text, state=state.status.value)


class Decision(StrEnum):
    """The operator's decision about an unconfirmed message."""

    SENT = "SENT"
    FAILED = "FAILED"
    RESEND = "RESEND"


@dataclass(frozen=True, slots=True)
class SettleRequest:
    """A caller's decision about one message; `reach` limits whom the caller may send to."""

    message_id: UUID
    decision: Decision
    reach: Reach = UNRESTRICTED


_SETTLED_DETAIL = "settled by hand as "
# The application may not change attempts: this function of the database marks an unconfirmed one as accepted.
_MARK_ACCEPTED = sql("SELECT settle_attempt_as_sent(:tenant, :message, :number)").bindparams(
    bindparam("tenant", type_=Uuid), bindparam("message", type_=Uuid), bindparam("number", type_=SmallInteger)
)


async def settle_by_hand(outbox: Outbox, tenant: UUID, request: SettleRequest, *, act: Act | None = None) -> None:
    """Settle an unconfirmed message as the operator decided; the same decision again changes nothing.

    Raises NotFound, InvalidState where it is not unconfirmed (any more) or cannot be sent again, and NotConfigured
    where no provider serves its channel.
    """
    key = MessageKey(tenant, request.message_id)
    async with outbox.database.transaction(tenant) as connection:
        state = await lock_readable_state(connection, key)
        if await Bounds(outbox.sealer, request.reach).outside(connection, tenant, [request.message_id]):
            raise out_of_reach(state)
        is_new = _awaits_decision(state)
        if is_new:
            transition = _settle_transition(outbox, state, request.decision)
            if request.decision is Decision.SENT:
                await _mark_accepted(connection, key, state, transition.state)
            detail = f"{_SETTLED_DETAIL}{request.decision.lower()}"
            changes = await write_transitions(
                connection, [EventRecord(key, state, transition, EventSource.OPERATOR, detail=detail)]
            )
        elif await _last_decision(connection, key) != request.decision:
            raise _not_unconfirmed(state)
        if act is not None:
            await act.done(connection, "Message", [request.message_id] if is_new else [])
    if is_new:
        await outbox.hub.publish(changes)
        if request.decision is Decision.RESEND:
            await outbox.wake(transition.state.channel_of(None))


def _awaits_decision(state: MessageState) -> bool:
    return state.status is MessageStatus.UNCONFIRMED


def _settle_transition(outbox: Outbox, state: MessageState, decision: Decision) -> Transition:
    match decision:
        case Decision.SENT:
            return settled_as_sent(state)
        case Decision.FAILED:
            return settled_as_failed(state)
    if (refusal := _not_sent_again(outbox, state)) is not None:
        raise refusal
    return send_again(state)


def _not_sent_again(outbox: Outbox, state: MessageState) -> AppError | None:
    if state.is_expired:
        text = say("EXPIRED_UNCONFIRMED", "The message has expired (`expiresIn`), so it cannot be sent again.")
        return InvalidState(text, state=state.status.value)
    return cannot_be_sent(state, [state.route[state.step]], outbox.channels)


async def _mark_accepted(
    connection: AsyncConnection, key: MessageKey, before: MessageState, after: MessageState
) -> None:
    for number, one in after.attempts.items():
        if one != before.attempts[number]:
            await connection.execute(
                _MARK_ACCEPTED, {"tenant": key.tenant_id, "message": key.message_id, "number": number}
            )


async def _last_decision(connection: AsyncConnection, key: MessageKey) -> Decision | None:
    """The latest decision about a message."""
    last = (
        select(message_events.c.detail)
        .where(
            message_events.c.tenant_id == key.tenant_id,
            message_events.c.message_id == key.message_id,
            message_events.c.source == EventSource.OPERATOR.value,
            message_events.c.detail.startswith(_SETTLED_DETAIL),
        )
        .order_by(message_events.c.sequence.desc())
        .limit(1)
    )
    detail: str | None = (await connection.execute(last)).scalar()
    return None if detail is None else Decision(detail.removeprefix(_SETTLED_DETAIL).upper())


def _not_unconfirmed(state: MessageState) -> InvalidState:
    status = state.status.value
    text = say(
        "NOT_UNCONFIRMED", "Only an unconfirmed message can be settled by hand; this one is {state}.", state=status
    )
    return InvalidState(text, state=status)
