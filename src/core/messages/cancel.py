"""Stopping a message that has not gone out; the answer is honest, also when a worker has it in hand."""

from uuid import UUID

from core.audit.act import Act
from core.database import Database
from core.errors import InvalidState, NotFound
from core.messages.record import Key, Noted, lock_standings, write_moves
from core.messages.transitions import STOPPABLE, Standing, can_be_stopped, canceled
from core.messages.values import EventSource
from core.pubsub import Hub
from core.words import say


async def cancel(database: Database, hub: Hub, tenant: UUID, message_id: UUID, *, act: Act | None = None) -> None:
    """Stop a message for good; raises NotFound, and InvalidState when it is too late.

    A worker that has claimed it and not begun finds its lease gone; one that has begun holds the row's lock first, and
    then it is too late.
    """
    key = Key(tenant, message_id)
    async with database.transaction(tenant) as connection:
        standing = (await lock_standings(connection, [key])).get(key)
        if standing is None:
            raise NotFound(say("MESSAGE_NOT_FOUND", "There is no such message."))
        if not can_be_stopped(standing.status, standing.attempts.values()):
            raise _too_late(standing)
        noted = Noted(key, standing, canceled(standing), EventSource.API, detail="canceled before it went out")
        changes = await write_moves(connection, [noted])
        if act is not None:
            await act.done(connection, "Message", [message_id])
    await hub.publish(changes)


def _too_late(standing: Standing) -> InvalidState:
    if standing.status in STOPPABLE:
        text = say(
            "TOO_LATE_TAKEN",
            "Too late: an earlier attempt was taken, or perhaps taken, by a company. What follows is not stopped.",
        )
    else:
        text = say(
            "TOO_LATE",
            "Too late: the message is {status}, and only one that waits can be stopped.",
            status=standing.status,
        )
    return InvalidState(text, state=standing.status.value)
