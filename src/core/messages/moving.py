"""Moving many messages at once without one that nobody can read holding up the others: it is parked as FAILED."""

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from contextlib import asynccontextmanager

import structlog
from sqlalchemy import func, insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from core.database import is_passing
from core.errors import FailureParty, FailureReason
from core.messages.failures import failure_to_json
from core.messages.record import Key, Noted, write_moves
from core.messages.tables import message_events, messages
from core.messages.transitions import Standing
from core.messages.values import EventSource, MessageStatus
from core.operations.dead_letters import MESSAGE_SEND, GivenUp, bury
from core.ports import Failure
from core.pubsub import Change

log = structlog.get_logger(__name__)

Lock = Callable[[AsyncConnection, Collection[Key]], Awaitable[Mapping[Key, Standing]]]
"""Locks messages and reads where they stand; leaves out those that are not to be moved."""
Decide = Callable[[Key, Standing], Noted]

POISON = Failure(
    FailureReason.OTHER,
    FailureParty.OPERATOR,
    "The message's row cannot be read by this version: look for `message_parked` in the worker's log.",
)


async def move_all(connection: AsyncConnection, keys: Collection[Key], lock: Lock, decide: Decide) -> list[Change]:
    """Move messages in the caller's transaction; returns what to tell listeners."""
    try:
        async with savepoint(connection):
            return await _move(connection, keys, lock, decide)
    except Exception as error:
        if is_passing(error):
            raise
        log.exception("moves_broke", messages=len(keys))
    changes: list[Change] = []
    for key in keys:
        try:
            async with savepoint(connection):
                changes += await _move(connection, [key], lock, decide)
        except Exception as error:
            if is_passing(error):
                raise
            log.exception("message_parked", message_id=str(key.message_id))
            await _park(connection, key)
            changes.append(Change(*key))
    return changes


async def _move(connection: AsyncConnection, keys: Collection[Key], lock: Lock, decide: Decide) -> list[Change]:
    standings = await lock(connection, keys)
    noted = [decide(key, standing) for key, standing in standings.items()]
    return await write_moves(connection, noted) if noted else []


@asynccontextmanager
async def savepoint(connection: AsyncConnection) -> AsyncIterator[None]:
    """Undo what is done inside it, and no more, where that breaks for good."""
    await connection.execute(text("SAVEPOINT moving"))
    try:
        yield
    except Exception as error:
        if not is_passing(error):
            await connection.execute(text("ROLLBACK TO SAVEPOINT moving"))
        raise
    await connection.execute(text("RELEASE SAVEPOINT moving"))


async def _park(connection: AsyncConnection, key: Key) -> None:
    place = (messages.c.tenant_id == key.tenant_id) & (messages.c.id == key.message_id)
    before = (await connection.execute(select(messages.c.status, messages.c.channel).where(place))).one()
    await connection.execute(
        update(messages)
        .where(place)
        .values(
            status=MessageStatus.FAILED.value,
            failure=failure_to_json(POISON),
            due_at=None,
            step_until=None,
            unconfirmed_at=None,
            lease_until=None,
            updated_at=func.now(),
        )
    )
    await connection.execute(
        insert(message_events).values(
            tenant_id=key.tenant_id,
            message_id=key.message_id,
            status=MessageStatus.FAILED.value,
            previous_status=before.status,
            channel=before.channel,
            detail="its row cannot be read by this version",
            source=EventSource.WORKER.value,
        )
    )
    await bury(connection, [GivenUp(key.tenant_id, MESSAGE_SEND, POISON.message, 0, None, key.message_id)])
