"""Following messages live: the present state first, then every change, none left out and none told twice.

A later sequence may be committed before an earlier one. So a follower reads from the oldest transaction that was
still running at its last look, and skips what it has told already.
"""

from collections.abc import AsyncGenerator, Collection
from dataclasses import dataclass
from functools import partial
from uuid import UUID

from sqlalchemy import String, cast, select, text
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.ext.asyncio import AsyncConnection

from core.database import Database
from core.messages.history import EventView, event_view
from core.messages.tables import TransactionId, message_events
from core.patience import when_back
from core.pubsub import Hub

_OLDEST_RUNNING = text("SELECT pg_snapshot_xmin(pg_current_snapshot())::text")


@dataclass(frozen=True, slots=True)
class StatusChange:
    """A message came to a new status; in the opening state `previous_status` of the event is left aside."""

    event: EventView
    is_opening: bool


async def follow(
    database: Database, hub: Hub, tenant: UUID, message_ids: Collection[UUID] | None
) -> AsyncGenerator[StatusChange, None]:
    """Yield changes of a tenant's messages: of those named, after their present state, or of all of them."""
    with hub.listen(tenant, message_ids) as listener:
        async with hub.reading:
            position, opening = await _open(database, tenant, message_ids)
        shown = {event.message_id: event.sequence for event in opening}
        for event in opening:
            yield StatusChange(event, is_opening=True)
        told: set[int] = set()
        while True:
            await listener.wait()
            async with hub.reading:
                position, news = await when_back(partial(_news, database, tenant, message_ids, position))
            for event in news:
                if event.sequence not in told and event.sequence > shown.get(event.message_id, 0):
                    yield StatusChange(event, is_opening=False)
            told = {event.sequence for event in news}


async def _open(database: Database, tenant: UUID, message_ids: Collection[UUID] | None) -> tuple[str, list[EventView]]:
    async with database.transaction(tenant) as connection:
        position = await _oldest_running(connection)
        if message_ids is None:
            return position, []
        latest = (
            select(message_events)
            .ext(distinct_on(message_events.c.message_id))
            .where(message_events.c.tenant_id == tenant, message_events.c.message_id.in_(message_ids))
            .order_by(message_events.c.message_id, message_events.c.sequence.desc())
        )
        return position, [event_view(row) for row in await connection.execute(latest)]


async def _news(
    database: Database, tenant: UUID, message_ids: Collection[UUID] | None, position: str
) -> tuple[str, list[EventView]]:
    """Read changes from `position` on, and the position for the next look, taken before this one."""
    async with database.transaction(tenant) as connection:
        following = await _oldest_running(connection)
        statement = (
            select(message_events)
            .where(
                message_events.c.tenant_id == tenant,
                message_events.c.transaction_id >= cast(cast(position, String), TransactionId),
                message_events.c.status.is_distinct_from(message_events.c.previous_status),
            )
            .order_by(message_events.c.sequence)
        )
        if message_ids is not None:
            statement = statement.where(message_events.c.message_id.in_(message_ids))
        return following, [event_view(row) for row in await connection.execute(statement)]


async def _oldest_running(connection: AsyncConnection) -> str:
    found: str = (await connection.execute(_OLDEST_RUNNING)).scalar_one()
    return found
