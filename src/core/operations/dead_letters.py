"""Dead letters: work that was tried until we gave up, kept until somebody decides about it."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

from sqlalchemy import ColumnElement, func, insert, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from core.identifiers import uuid7
from core.operations.tables import dead_letters

MESSAGE_SEND = "message.send"
WEBHOOK_APPLY = "webhook.apply"


class Resolution(StrEnum):
    """What became of a dead letter: tried again, given up for good, or it went well after all."""

    REQUEUED = "REQUEUED"
    DISCARDED = "DISCARDED"
    SETTLED = "SETTLED"


@dataclass(frozen=True, slots=True)
class GivenUp:
    """Work nobody will try again by itself; `error` holds no personal data."""

    tenant_id: UUID
    kind: str
    error: str
    attempts: int
    integration: str | None = None
    message_id: UUID | None = None
    inbox_id: UUID | None = None


async def bury(connection: AsyncConnection, given_up: Sequence[GivenUp]) -> None:
    """Write dead letters down."""
    if given_up:
        rows = [
            {
                "tenant_id": one.tenant_id,
                "id": uuid7(),
                "kind": one.kind,
                "integration": one.integration,
                "message_id": one.message_id,
                "inbox_id": one.inbox_id,
                "error": one.error,
                "attempts": one.attempts,
            }
            for one in given_up
        ]
        await connection.execute(insert(dead_letters), rows)


async def close_of_messages(
    connection: AsyncConnection, keys: Collection[tuple[UUID, UUID]], resolution: Resolution
) -> None:
    """Close the open dead letters of messages that go on, by (tenant, message)."""
    if keys:
        of_these = tuple_(dead_letters.c.tenant_id, dead_letters.c.message_id).in_(list(keys))
        await _close(connection, (dead_letters.c.kind == MESSAGE_SEND) & of_these, resolution)


async def close_of_webhooks(connection: AsyncConnection, tenant: UUID, inbox_ids: Collection[UUID]) -> None:
    """Close the open dead letters of webhooks that are processed again."""
    if inbox_ids:
        of_these = (dead_letters.c.tenant_id == tenant) & dead_letters.c.inbox_id.in_(list(inbox_ids))
        await _close(connection, of_these, Resolution.REQUEUED)


async def close(connection: AsyncConnection, tenant: UUID, ids: Collection[UUID], resolution: Resolution) -> None:
    """Close those of a tenant's dead letters that are open."""
    if ids:
        these = (dead_letters.c.tenant_id == tenant) & dead_letters.c.id.in_(list(ids))
        await _close(connection, these, resolution)


async def _close(connection: AsyncConnection, which: ColumnElement[bool], resolution: Resolution) -> None:
    await connection.execute(
        update(dead_letters)
        .where(which, dead_letters.c.resolution.is_(None))
        .values(resolution=resolution.value, resolved_at=func.now())
    )
