"""Status changes in transactions that the test controls, and a subscriber to them."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from uuid import UUID

import asyncpg

from core.live.change_feed import ChangeFeeds, subscribe_to_changes
from core.live.cursors import Cursor
from core.messages.change_feed import ChangeFilter, StatusChange
from core.ports.identity import DEFAULT_TENANT

INSERT_EVENT = (
    "INSERT INTO message_events (tenant_id, message_id, status, previous_status, channel, source)"
    " VALUES ($1, $2, $3, $4, 'SMS', 'WORKER') RETURNING sequence"
)
ASSIGN_TRANSACTION_ID = "SELECT pg_current_xact_id()::text"


@dataclass
class Subscriber:
    """A subscriber: the changes it received, and its cursor."""

    changes: AsyncGenerator[StatusChange, None]
    told: list[tuple[UUID, int]] = field(default_factory=list)
    place: Cursor | None = None

    async def next(self, seconds: float = 5) -> StatusChange:
        async with asyncio.timeout(seconds):
            change = await anext(self.changes)
        self.place = change.cursor
        self.told.append((change.event.message_id, change.event.sequence))
        return change

    async def take(self, count: int) -> list[int]:
        """The sequences of the next ones."""
        return [(await self.next()).event.sequence for _ in range(count)]


@asynccontextmanager
async def subscribed(
    feeds: ChangeFeeds[StatusChange], interest: ChangeFilter | None = None, after: Cursor | None = None
) -> AsyncIterator[Subscriber]:
    """Follow from a place, or from now on."""
    reader = Subscriber(subscribe_to_changes(feeds, DEFAULT_TENANT, interest or ChangeFilter(), after))
    try:
        yield reader
    finally:
        await reader.changes.aclose()


async def record_change(connection: asyncpg.Connection, message: UUID, status: str, previous: str | None) -> int:
    """Write a change in the transaction of the connection; return its sequence."""
    sequence: int = await connection.fetchval(INSERT_EVENT, DEFAULT_TENANT, message, status, previous)
    return sequence
