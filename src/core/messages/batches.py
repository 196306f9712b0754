"""Batches: messages that were handed in together, how many of them stand where, and when the last came to rest."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import case, func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from core.idempotency import IdempotentRequest, claim_key
from core.identifiers import uuid7
from core.messages.tables import message_batches, messages
from core.messages.values import MessageStatus

MOST = 500
"""Messages of one batch."""
_UNDER_WAY = frozenset(
    {MessageStatus.SCHEDULED, MessageStatus.QUEUED, MessageStatus.SENDING, MessageStatus.UNCONFIRMED}
)
# The last bits of a batch's id are its messages' places in it: 1,023 of them at most.
_PLACES = 0x3FF


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch by itself."""

    id: UUID
    name: str | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Counts:
    """How many messages stand where; `rested_at` is when the last was handed over or ended, None while one is not."""

    by_status: Mapping[MessageStatus, int]
    rested_at: datetime | None

    @property
    def total(self) -> int:
        return sum(self.by_status.values())


def new_batch_id() -> UUID:
    """Make an id that leaves room for its messages' ids behind it."""
    return UUID(int=uuid7().int & ~_PLACES)


def member_id(batch_id: UUID, position: int) -> UUID:
    """The id of a batch's message, counted from 0: the same however often the batch is handed in."""
    return UUID(int=batch_id.int + position + 1)


async def claim_batch(
    connection: AsyncConnection, tenant_id: UUID, request: IdempotentRequest, batch_id: UUID, name: str | None
) -> UUID | None:
    """Begin a batch under its key; the earlier batch's id when there is one. Raises IdempotencyConflict."""
    earlier = await claim_key(connection, tenant_id, request, batch_id)
    if earlier is None:
        await connection.execute(insert(message_batches).values(tenant_id=tenant_id, id=batch_id, name=name))
    return earlier


async def batches_of(connection: AsyncConnection, tenant_id: UUID, ids: Collection[UUID]) -> dict[UUID, Batch]:
    """Read batches of a tenant by id; those it does not have are left out."""
    rows = await connection.execute(
        select(message_batches).where(message_batches.c.tenant_id == tenant_id, message_batches.c.id.in_(ids))
    )
    return {row.id: Batch(row.id, row.name, row.created_at) for row in rows}


async def counts_of(connection: AsyncConnection, tenant_id: UUID, ids: Collection[UUID]) -> dict[UUID, Counts]:
    """Count batches' messages by status; a batch without messages is left out."""
    rested_at = case((messages.c.sent_at.is_not(None), messages.c.sent_at), else_=messages.c.updated_at)
    rows = await connection.execute(
        select(messages.c.batch_id, messages.c.status, func.count().label("number"), func.max(rested_at).label("at"))
        .where(messages.c.tenant_id == tenant_id, messages.c.batch_id.in_(ids))
        .group_by(messages.c.batch_id, messages.c.status)
    )
    found: dict[UUID, dict[MessageStatus, int]] = {}
    rested: dict[UUID, list[datetime]] = {}
    for row in rows:
        found.setdefault(row.batch_id, {})[MessageStatus(row.status)] = row.number
        rested.setdefault(row.batch_id, []).append(row.at)
    return {
        batch_id: Counts(by_status, None if by_status.keys() & _UNDER_WAY else max(rested[batch_id]))
        for batch_id, by_status in found.items()
    }
