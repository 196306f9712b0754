"""Moving many messages at once without one that nobody can read holding up the others: it is parked as FAILED."""

from collections.abc import Awaitable, Callable, Collection, Mapping

import structlog
from sqlalchemy import func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from core.errors import FailureParty, FailureReason
from core.messages.failures import failure_to_json
from core.messages.record import Key, Noted, write_moves
from core.messages.tables import message_events, messages
from core.messages.together import write_together
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

    async def write(some: Collection[Key]) -> list[Change]:
        return await _move(connection, some, lock, decide)

    async def park(key: Key) -> list[Change]:
        log.exception("message_parked", message_id=str(key.message_id))
        await _park(connection, key)
        return [Change(*key)]

    return await write_together(connection, keys, write, park)


async def _move(connection: AsyncConnection, keys: Collection[Key], lock: Lock, decide: Decide) -> list[Change]:
    standings = await lock(connection, keys)
    noted = [decide(key, standing) for key, standing in standings.items()]
    return await write_moves(connection, noted) if noted else []


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
