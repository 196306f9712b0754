"""Canceling messages, and settling unconfirmed ones by hand."""

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
    STOPPABLE,
    MessageState,
    Transition,
    can_be_stopped,
    canceled,
    send_again,
    settled_as_failed,
    settled_as_sent,
)
from core.messages.status import EventSource, MessageStatus
from core.messages.tables import message_events, messages
from core.ports.principal import UNRESTRICTED, Reach
from core.pubsub import Hub
from core.words import say

_CANCELED_DETAIL = "canceled before it went out"


@dataclass(frozen=True, slots=True)
class BatchCanceled:
    """How many messages of a batch are canceled by now, and how many went out, or perhaps did, before that."""

    canceled: int
    too_late: int


async def cancel_message(
    database: Database, hub: Hub, tenant: UUID, message_id: UUID, *, act: Act | None = None
) -> None:
    """Stop a message for good; one that is stopped already stays so. Raises NotFound, and InvalidState when too late.

    A worker that has claimed it and not begun finds its lease gone; one that has begun holds the row's lock first, and
    then it is too late.
    """
    key = MessageKey(tenant, message_id)
    async with database.transaction(tenant) as connection:
        standing = await lock_readable_state(connection, key)
        is_new = standing.status is not MessageStatus.CANCELED
        if is_new and not can_be_stopped(standing.status, standing.attempts.values()):
            raise _too_late(standing)
        noted = (
            [EventRecord(key, standing, canceled(standing), EventSource.API, detail=_CANCELED_DETAIL)] if is_new else []
        )
        changes = await write_transitions(connection, noted) if noted else []
        if act is not None:
            await act.done(connection, "Message", [message_id] if is_new else [])
    await hub.publish(changes)


async def cancel_batch(
    database: Database, hub: Hub, tenant: UUID, batch_id: UUID, *, act: Act | None = None
) -> BatchCanceled:
    """Stop all messages of a batch that have not gone out, in one transaction; raises NotFound."""
    async with database.transaction(tenant) as connection:
        if batch_id not in await batches_of(connection, tenant, [batch_id]):
            raise NotFound(say("BATCH_NOT_FOUND", "There is no such batch."))
        chosen = select(messages.c.id).where(messages.c.tenant_id == tenant, messages.c.batch_id == batch_id)
        keys = [MessageKey(tenant, row.id) for row in await connection.execute(chosen)]
        # What this version cannot read is not stopped by it either: it counts as too late.
        standings, _ = await lock_readable_states(connection, keys) if keys else ({}, ())
        noted = [
            EventRecord(key, standing, canceled(standing), EventSource.API, detail=_CANCELED_DETAIL)
            for key, standing in standings.items()
            if can_be_stopped(standing.status, standing.attempts.values())
        ]
        changes = await write_transitions(connection, noted) if noted else []
        if act is not None:
            await act.done(connection, "MessageBatch", [batch_id] if noted else [])
    await hub.publish(changes)
    before = sum(one.status is MessageStatus.CANCELED for one in standings.values())
    return BatchCanceled(before + len(noted), len(keys) - before - len(noted))


def _too_late(standing: MessageState) -> InvalidState:
    if standing.status in STOPPABLE:
        text = say(
            "TOO_LATE_TAKEN",
            "Too late: an earlier attempt was taken, or perhaps taken, by a company. What follows is not stopped.",
        )
    elif standing.status is MessageStatus.UNCONFIRMED:
        text = say(
            "TOO_LATE_UNCONFIRMED",
            "Too late to cancel: the message is unconfirmed, so the provider may have accepted it.",
        )
    else:
        text = say(
            "TOO_LATE",
            "Too late: the message is {status}, and only one that waits can be stopped.",
            status=standing.status,
        )
    return InvalidState(text, state=standing.status.value)


# Settling an unconfirmed message by hand: somebody decides what its provider does not say.
#
# Everything else that is decided about such a message is decided by what is known: see `settle.py`. Here a person
# takes
# responsibility for a message that may arrive twice, or not at all. A report that comes later still says more.


class Decision(StrEnum):
    """What an unconfirmed message counts as from now on, or what is done with it."""

    SENT = "SENT"
    FAILED = "FAILED"
    RESEND = "RESEND"


@dataclass(frozen=True, slots=True)
class SettleRequest:
    """A caller's decision about one message; `reach` is whom they may send to."""

    message_id: UUID
    decision: Decision
    reach: Reach = UNRESTRICTED


_SETTLED_DETAIL = "settled by hand as "
# The application changes no attempts: this function says of one in doubt that it was taken, and nothing else.
_TAKEN = sql("SELECT settle_attempt_as_sent(:tenant, :message, :number)").bindparams(
    bindparam("tenant", type_=Uuid), bindparam("message", type_=Uuid), bindparam("number", type_=SmallInteger)
)


async def settle_by_hand(outbox: Outbox, tenant: UUID, asked: SettleRequest, *, act: Act | None = None) -> None:
    """Settle an unconfirmed message as somebody decided; the same decision once more changes nothing.

    Raises NotFound, InvalidState where it is not unconfirmed (any more) or cannot be sent again, and NotConfigured
    where nobody serves its channel.
    """
    key = MessageKey(tenant, asked.message_id)
    async with outbox.database.transaction(tenant) as connection:
        standing = await lock_readable_state(connection, key)
        if await Bounds(outbox.sealer, asked.reach).outside(connection, tenant, [asked.message_id]):
            raise out_of_reach(standing)
        is_new = _awaits_decision(standing)
        if is_new:
            move = _settle_transition(outbox, standing, asked.decision)
            if asked.decision is Decision.SENT:
                await _note_taken(connection, key, standing, move.standing)
            detail = f"{_SETTLED_DETAIL}{asked.decision.lower()}"
            changes = await write_transitions(
                connection, [EventRecord(key, standing, move, EventSource.OPERATOR, detail=detail)]
            )
        elif await _decided(connection, key) != asked.decision:
            raise _not_unconfirmed(standing)
        if act is not None:
            await act.done(connection, "Message", [asked.message_id] if is_new else [])
    if is_new:
        await outbox.hub.publish(changes)
        if asked.decision is Decision.RESEND:
            await outbox.wake(move.standing.channel_of(None))


def _awaits_decision(standing: MessageState) -> bool:
    return standing.status is MessageStatus.UNCONFIRMED


def _settle_transition(outbox: Outbox, standing: MessageState, decision: Decision) -> Transition:
    match decision:
        case Decision.SENT:
            return settled_as_sent(standing)
        case Decision.FAILED:
            return settled_as_failed(standing)
    if (refusal := _not_sent_again(outbox, standing)) is not None:
        raise refusal
    return send_again(standing)


def _not_sent_again(outbox: Outbox, standing: MessageState) -> AppError | None:
    if standing.is_expired:
        text = say("EXPIRED_UNCONFIRMED", "The message has expired (`expiresIn`), so it cannot be sent again.")
        return InvalidState(text, state=standing.status.value)
    return cannot_be_sent(standing, [standing.route[standing.step]], outbox.channels)


async def _note_taken(connection: AsyncConnection, key: MessageKey, before: MessageState, after: MessageState) -> None:
    for number, one in after.attempts.items():
        if one != before.attempts[number]:
            await connection.execute(_TAKEN, {"tenant": key.tenant_id, "message": key.message_id, "number": number})


async def _decided(connection: AsyncConnection, key: MessageKey) -> Decision | None:
    """What somebody decided about it last."""
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


def _not_unconfirmed(standing: MessageState) -> InvalidState:
    state = standing.status.value
    told = say(
        "NOT_UNCONFIRMED", "Only an unconfirmed message can be settled by hand; this one is {state}.", state=state
    )
    return InvalidState(told, state=state)
