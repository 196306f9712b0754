"""Dead letters: work that was tried until we gave up, kept until somebody decides about it."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from core.identifiers import uuid7
from core.operations.tables import dead_letters


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
