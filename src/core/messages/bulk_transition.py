"""Moving many messages in one transaction, so that one that cannot be written does not hold up the others."""

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from typing import TypeVar

import structlog
from sqlalchemy import func, insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from core.database import is_transient
from core.dead_letters.store import MESSAGE_SEND, NewDeadLetter, add_dead_letters
from core.errors import FailureParty, FailureReason
from core.messages.record import EventRecord, MessageKey, write_transitions
from core.messages.state_machine import MessageState
from core.messages.status import EventSource, MessageStatus
from core.messages.tables import message_events, messages
from core.ports import Failure
from core.ports.failures import failure_to_json
from core.pubsub import Change

log = structlog.get_logger(__name__)

One = TypeVar("One")


async def write_isolated(
    connection: AsyncConnection,
    ones: Collection[One],
    write: Callable[[Collection[One]], Awaitable[list[Change]]],
    give_up: Callable[[One], Awaitable[list[Change]]],
) -> list[Change]:
    """Write in the caller's transaction; returns what to tell listeners.

    `give_up` is asked about each that cannot be written, while its error is the present one; what `write` did for it is
    undone by then. Raises what will pass by itself, such as a database that goes away.
    """
    try:
        async with _savepoint(connection):
            return await write(ones)
    except Exception as error:
        if is_transient(error):
            raise
        log.exception("not_written_together", messages=len(ones))
    changes: list[Change] = []
    for one in ones:
        try:
            async with _savepoint(connection):
                changes += await write([one])
        except Exception as error:
            if is_transient(error):
                raise
            changes += await give_up(one)
    return changes


@asynccontextmanager
async def _savepoint(connection: AsyncConnection) -> AsyncIterator[None]:
    """Undo what is done inside it, and no more, where that breaks for good."""
    await connection.execute(text("SAVEPOINT together"))
    try:
        yield
    except Exception as error:
        if not is_transient(error):
            await connection.execute(text("ROLLBACK TO SAVEPOINT together"))
        raise
    await connection.execute(text("RELEASE SAVEPOINT together"))


# Moving many messages at once without one that nobody can read holding up the others: it is parked as FAILED.


Lock = Callable[[AsyncConnection, Collection[MessageKey]], Awaitable[Mapping[MessageKey, MessageState]]]
"""Locks messages and reads where they stand; leaves out those that are not to be moved."""
Decide = Callable[[MessageKey, MessageState], EventRecord]

UNREADABLE_ROW = Failure(
    FailureReason.OTHER,
    FailureParty.OPERATOR,
    "The message's row cannot be read by this version: look for `message_parked` in the worker's log.",
)


async def transition_all(
    connection: AsyncConnection, keys: Collection[MessageKey], lock: Lock, decide: Decide
) -> list[Change]:
    """Move messages in the caller's transaction; returns what to tell listeners."""

    async def write(some: Collection[MessageKey]) -> list[Change]:
        return await _move(connection, some, lock, decide)

    async def park(key: MessageKey) -> list[Change]:
        log.exception("message_parked", message_id=str(key.message_id))
        await _park(connection, key)
        return [Change(*key)]

    return await write_isolated(connection, keys, write, park)


async def _move(connection: AsyncConnection, keys: Collection[MessageKey], lock: Lock, decide: Decide) -> list[Change]:
    standings = await lock(connection, keys)
    noted = [decide(key, standing) for key, standing in standings.items()]
    return await write_transitions(connection, noted) if noted else []


async def _park(connection: AsyncConnection, key: MessageKey) -> None:
    place = (messages.c.tenant_id == key.tenant_id) & (messages.c.id == key.message_id)
    before = (await connection.execute(select(messages.c.status, messages.c.channel).where(place))).one()
    await connection.execute(
        update(messages)
        .where(place)
        .values(
            status=MessageStatus.FAILED.value,
            failure=failure_to_json(UNREADABLE_ROW),
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
    await add_dead_letters(
        connection, [NewDeadLetter(key.tenant_id, MESSAGE_SEND, UNREADABLE_ROW.message, 0, None, key.message_id)]
    )
