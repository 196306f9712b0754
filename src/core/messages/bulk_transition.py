"""Bulk transitions: many messages moved in one transaction; one that cannot be written does not stop the others."""

from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import TypeVar

import structlog
from sqlalchemy import func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from core.database import is_transient, savepoint
from core.dead_letters.store import NewDeadLetter, add_dead_letters
from core.errors import FailureParty, FailureReason
from core.messages.record import EventRecord, MessageKey, write_transitions
from core.messages.state_machine import MessageState
from core.messages.status import MESSAGE_SEND, EventSource, MessageStatus
from core.messages.tables import message_events, messages
from core.nouns import SubjectKey
from core.ports import Failure
from core.ports.reports import failure_to_json
from core.ports.sending import MESSAGE
from core.pubsub import Change

log = structlog.get_logger(__name__)

Item = TypeVar("Item")
Lock = Callable[[AsyncConnection, Collection[MessageKey]], Awaitable[Mapping[MessageKey, MessageState]]]
"""Locks messages and reads their states; leaves out those that are not to be moved."""
Decide = Callable[[MessageKey, MessageState], EventRecord]

UNREADABLE_ROW = Failure(
    FailureReason.OTHER,
    FailureParty.OPERATOR,
    "The message's row cannot be read by this version: look for `message_parked` in the worker's log.",
)


async def transition_all(
    connection: AsyncConnection, keys: Collection[MessageKey], lock: Lock, decide: Decide
) -> list[Change]:
    """Move messages in the caller's transaction, and return what to publish.

    A message that this version cannot read or write becomes FAILED, with a dead letter.
    """

    async def write(some: Collection[MessageKey]) -> list[Change]:
        states = await lock(connection, some)
        records = [decide(key, state) for key, state in states.items()]
        return await write_transitions(connection, records) if records else []

    async def park(key: MessageKey) -> list[Change]:
        log.exception("message_parked", message_id=str(key.message_id))
        await _park(connection, key)
        return [Change(*key)]

    return await write_isolated(connection, keys, write, park)


async def write_isolated(
    connection: AsyncConnection,
    items: Collection[Item],
    write: Callable[[Collection[Item]], Awaitable[list[Change]]],
    on_failure: Callable[[Item], Awaitable[list[Change]]],
) -> list[Change]:
    """Write items in the caller's transaction, all at once or else one by one, and return what to publish.

    `on_failure` is called for each item that cannot be written, while its error is the current exception; what `write`
    did for the item is undone by then. Raises errors that pass, such as a database that goes away.
    """
    try:
        async with savepoint(connection):
            return await write(items)
    except Exception as error:
        if is_transient(error):
            raise
        log.exception("not_written_together", messages=len(items))
    changes: list[Change] = []
    for item in items:
        try:
            async with savepoint(connection):
                changes += await write([item])
        except Exception as error:
            if is_transient(error):
                raise
            changes += await on_failure(item)
    return changes


async def _park(connection: AsyncConnection, key: MessageKey) -> None:
    is_it = (messages.c.tenant_id == key.tenant_id) & (messages.c.id == key.message_id)
    before = (await connection.execute(select(messages.c.status, messages.c.channel).where(is_it))).one()
    await connection.execute(
        update(messages)
        .where(is_it)
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
    subject = SubjectKey(MESSAGE, key.message_id)
    await add_dead_letters(
        connection, [NewDeadLetter(key.tenant_id, MESSAGE_SEND, UNREADABLE_ROW.message, 0, None, subject)]
    )
