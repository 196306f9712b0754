"""Reading dead letters: by id, by page, counted."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row, Select, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from core.operations.dead_letters import Resolution
from core.operations.tables import dead_letters
from core.slicing import Slice, Span, read_slice, storable, within


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """Work that was given up, and what was decided about it."""

    id: UUID
    kind: str
    integration: str | None
    message_id: UUID | None
    inbox_id: UUID | None
    error: str
    attempts: int
    failed_at: datetime
    resolution: Resolution | None


@dataclass(frozen=True, slots=True)
class DeadLetterFilter:
    """All given conditions must hold; a list holds when any of its values does, an empty one never."""

    integrations: Sequence[str] | None = None
    kinds: Sequence[str] | None = None
    message_id: UUID | None = None
    is_resolved: bool = False
    failed: Span = field(default_factory=Span)


async def by_ids(connection: AsyncConnection, tenant: UUID, ids: Collection[UUID]) -> dict[UUID, DeadLetter]:
    """Read a tenant's dead letters by id; those it does not have are left out."""
    if not ids:
        return {}
    chosen = select(dead_letters).where(dead_letters.c.tenant_id == tenant, dead_letters.c.id.in_(list(ids)))
    return {row.id: _dead_letter(row) for row in await connection.execute(chosen)}


async def page(
    connection: AsyncConnection, tenant: UUID, which: Slice, condition: DeadLetterFilter
) -> tuple[Sequence[DeadLetter], bool]:
    """Read one page of a tenant's dead letters, newest first, and whether there are more."""
    statement = _filtered(select(dead_letters), tenant, condition)
    rows, has_more = await read_slice(connection, statement, dead_letters.c.id, which)
    return [_dead_letter(row) for row in rows], has_more


async def count(connection: AsyncConnection, tenant: UUID, condition: DeadLetterFilter) -> int:
    """Count a tenant's dead letters that fit."""
    statement = _filtered(select(func.count()).select_from(dead_letters), tenant, condition)
    found: int = (await connection.execute(statement)).scalar_one()
    return found


def _filtered(statement: Select[Any], tenant: UUID, condition: DeadLetterFilter) -> Select[Any]:
    resolution = dead_letters.c.resolution
    statement = statement.where(
        dead_letters.c.tenant_id == tenant, resolution.is_not(None) if condition.is_resolved else resolution.is_(None)
    )
    if condition.integrations is not None:
        statement = statement.where(dead_letters.c.integration.in_(condition.integrations))
    if condition.kinds is not None:
        statement = statement.where(dead_letters.c.kind.in_(storable(condition.kinds)))
    if condition.message_id is not None:
        statement = statement.where(dead_letters.c.message_id == condition.message_id)
    return within(statement, condition.failed, dead_letters.c.failed_at, dead_letters.c.id)


def _dead_letter(row: Row[Any]) -> DeadLetter:
    return DeadLetter(
        id=row.id,
        kind=row.kind,
        integration=row.integration,
        message_id=row.message_id,
        inbox_id=row.inbox_id,
        error=row.error,
        attempts=row.attempts,
        failed_at=row.failed_at,
        resolution=Resolution(row.resolution) if row.resolution else None,
    )
