"""Stopping messages that have not gone out; the answer is honest, also when a worker has one in hand.

Asked again, after an answer was lost, the answer is the same.
"""

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import select

from core.audit.act import Act
from core.database import Database
from core.errors import InvalidState, NotFound
from core.messages.batches import batches_of
from core.messages.record import Key, Noted, write_moves
from core.messages.retry import where_it_stands, where_they_stand
from core.messages.tables import messages
from core.messages.transitions import STOPPABLE, Standing, can_be_stopped, canceled
from core.messages.values import EventSource, MessageStatus
from core.pubsub import Hub
from core.words import say

_DETAIL = "canceled before it went out"


@dataclass(frozen=True, slots=True)
class BatchCanceled:
    """How many messages of a batch are canceled by now, and how many went out, or perhaps did, before that."""

    canceled: int
    too_late: int


async def cancel(database: Database, hub: Hub, tenant: UUID, message_id: UUID, *, act: Act | None = None) -> None:
    """Stop a message for good; one that is stopped already stays so. Raises NotFound, and InvalidState when too late.

    A worker that has claimed it and not begun finds its lease gone; one that has begun holds the row's lock first, and
    then it is too late.
    """
    key = Key(tenant, message_id)
    async with database.transaction(tenant) as connection:
        standing = await where_it_stands(connection, key)
        is_new = standing.status is not MessageStatus.CANCELED
        if is_new and not can_be_stopped(standing.status, standing.attempts.values()):
            raise _too_late(standing)
        noted = [Noted(key, standing, canceled(standing), EventSource.API, detail=_DETAIL)] if is_new else []
        changes = await write_moves(connection, noted) if noted else []
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
        keys = [Key(tenant, row.id) for row in await connection.execute(chosen)]
        # What this version cannot read is not stopped by it either: it counts as too late.
        standings, _ = await where_they_stand(connection, keys) if keys else ({}, ())
        noted = [
            Noted(key, standing, canceled(standing), EventSource.API, detail=_DETAIL)
            for key, standing in standings.items()
            if can_be_stopped(standing.status, standing.attempts.values())
        ]
        changes = await write_moves(connection, noted) if noted else []
        if act is not None:
            await act.done(connection, "MessageBatch", [batch_id] if noted else [])
    await hub.publish(changes)
    before = sum(one.status is MessageStatus.CANCELED for one in standings.values())
    return BatchCanceled(before + len(noted), len(keys) - before - len(noted))


def _too_late(standing: Standing) -> InvalidState:
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
