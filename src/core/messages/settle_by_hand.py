"""Settling an unconfirmed message by hand: somebody decides what its provider does not say.

Everything else that is decided about such a message is decided by what is known: see `settle.py`. Here a person takes
responsibility for a message that may arrive twice, or not at all. A report that comes later still says more.
"""

from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

from sqlalchemy import SmallInteger, Uuid, bindparam, select
from sqlalchemy import text as sql
from sqlalchemy.ext.asyncio import AsyncConnection

from core.access.reach import EVERYWHERE, Reach
from core.audit.act import Act
from core.errors import AppError, InvalidState
from core.messages.accept import Outbox
from core.messages.bounds import Bounds
from core.messages.record import Key, Noted, write_moves
from core.messages.retry import cannot_be_sent, out_of_reach, where_it_stands
from core.messages.tables import message_events
from core.messages.transitions import Move, Standing, send_again, settled_as_failed, settled_as_sent
from core.messages.values import EventSource, MessageStatus
from core.words import say


class Decision(StrEnum):
    """What an unconfirmed message counts as from now on, or what is done with it."""

    SENT = "SENT"
    FAILED = "FAILED"
    RESEND = "RESEND"


@dataclass(frozen=True, slots=True)
class ByHand:
    """A caller's decision about one message; `reach` is whom they may send to."""

    message_id: UUID
    decision: Decision
    reach: Reach = EVERYWHERE


_DETAIL = "settled by hand as "
# The application changes no attempts: this function says of one in doubt that it was taken, and nothing else.
_TAKEN = sql("SELECT settle_attempt_as_sent(:tenant, :message, :number)").bindparams(
    bindparam("tenant", type_=Uuid), bindparam("message", type_=Uuid), bindparam("number", type_=SmallInteger)
)


async def settle_by_hand(outbox: Outbox, tenant: UUID, asked: ByHand, *, act: Act | None = None) -> None:
    """Settle an unconfirmed message as somebody decided; the same decision once more changes nothing.

    Raises NotFound, InvalidState where it is not unconfirmed (any more) or cannot be sent again, and NotConfigured
    where nobody serves its channel.
    """
    key = Key(tenant, asked.message_id)
    async with outbox.database.transaction(tenant) as connection:
        standing = await where_it_stands(connection, key)
        if await Bounds(outbox.sealer, asked.reach).outside(connection, tenant, [asked.message_id]):
            raise out_of_reach(standing)
        is_new = standing.status is MessageStatus.UNCONFIRMED
        if is_new:
            move = _move(outbox, standing, asked.decision)
            if asked.decision is Decision.SENT:
                await _note_taken(connection, key, standing, move.standing)
            detail = f"{_DETAIL}{asked.decision.lower()}"
            changes = await write_moves(connection, [Noted(key, standing, move, EventSource.OPERATOR, detail=detail)])
        elif await _decided(connection, key) != asked.decision:
            raise _not_unconfirmed(standing)
        if act is not None:
            await act.done(connection, "Message", [asked.message_id] if is_new else [])
    if is_new:
        await outbox.hub.publish(changes)
        if asked.decision is Decision.RESEND:
            await outbox.wake(move.standing.channel_of(None))


def _move(outbox: Outbox, standing: Standing, decision: Decision) -> Move:
    match decision:
        case Decision.SENT:
            return settled_as_sent(standing)
        case Decision.FAILED:
            return settled_as_failed(standing)
    if (refusal := _not_sent_again(outbox, standing)) is not None:
        raise refusal
    return send_again(standing)


def _not_sent_again(outbox: Outbox, standing: Standing) -> AppError | None:
    if standing.is_expired:
        text = say("EXPIRED_UNCONFIRMED", "The message has expired (`expiresIn`), so it cannot be sent again.")
        return InvalidState(text, state=standing.status.value)
    return cannot_be_sent(standing, [standing.route[standing.step]], outbox.channels)


async def _note_taken(connection: AsyncConnection, key: Key, before: Standing, after: Standing) -> None:
    for number, one in after.attempts.items():
        if one != before.attempts[number]:
            await connection.execute(_TAKEN, {"tenant": key.tenant_id, "message": key.message_id, "number": number})


async def _decided(connection: AsyncConnection, key: Key) -> Decision | None:
    """What somebody decided about it last."""
    last = (
        select(message_events.c.detail)
        .where(
            message_events.c.tenant_id == key.tenant_id,
            message_events.c.message_id == key.message_id,
            message_events.c.source == EventSource.OPERATOR.value,
            message_events.c.detail.startswith(_DETAIL),
        )
        .order_by(message_events.c.sequence.desc())
        .limit(1)
    )
    detail: str | None = (await connection.execute(last)).scalar()
    return None if detail is None else Decision(detail.removeprefix(_DETAIL).upper())


def _not_unconfirmed(standing: Standing) -> InvalidState:
    state = standing.status.value
    told = say(
        "NOT_UNCONFIRMED", "Only an unconfirmed message can be settled by hand; this one is {state}.", state=state
    )
    return InvalidState(told, state=state)
