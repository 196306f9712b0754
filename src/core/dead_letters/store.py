"""Dead letters: work that failed for good, kept until an operator decides about it; written, closed and read here."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import (
    Column,
    ColumnElement,
    DateTime,
    Index,
    PrimaryKeyConstraint,
    Row,
    Select,
    SmallInteger,
    Table,
    Text,
    Uuid,
    func,
    insert,
    select,
    text,
    tuple_,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from core.database import metadata
from core.ids import uuid7
from core.nouns import SubjectKey
from core.pagination import PageRequest, TimeRange, in_range, read_page, storable

dead_letters = Table(
    "dead_letters",
    metadata,
    Column("tenant_id", Uuid, nullable=False),
    Column("id", Uuid, nullable=False),
    # The kind of work: message.send, webhook.apply.
    Column("kind", Text, nullable=False),
    Column("integration", Text),
    # The object that the work belongs to; the column keeps its name of the time when every object was a message.
    Column("subject_kind", Text, server_default="Message"),
    Column("message_id", Uuid, key="subject_id"),
    Column("inbox_id", Uuid),
    Column("error", Text, nullable=False),
    Column("attempts", SmallInteger, nullable=False, server_default="0"),
    Column("failed_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    # REQUEUED or DISCARDED by an operator; SETTLED when the work succeeded after all.
    Column("resolution", Text),
    Column("resolved_at", DateTime(timezone=True)),
    PrimaryKeyConstraint("tenant_id", "id"),
    Index("ix_dead_letters_open", "tenant_id", "id", postgresql_where=text("resolution IS NULL")),
    Index("ix_dead_letters_message", "tenant_id", "subject_id", postgresql_where=text("resolution IS NULL")),
)


WEBHOOK_APPLY = "webhook.apply"


class Resolution(StrEnum):
    """What became of a dead letter: requeued, discarded, or its work succeeded after all."""

    REQUEUED = "REQUEUED"
    DISCARDED = "DISCARDED"
    SETTLED = "SETTLED"


@dataclass(frozen=True, slots=True)
class NewDeadLetter:
    """Work that is not retried any more; `error` holds no personal data."""

    tenant_id: UUID
    kind: str
    error: str
    attempts: int
    integration: str | None = None
    subject: SubjectKey | None = None
    inbox_id: UUID | None = None


async def add_dead_letters(connection: AsyncConnection, failed: Sequence[NewDeadLetter]) -> None:
    """Write dead letters."""
    if failed:
        rows = [
            {
                "tenant_id": one.tenant_id,
                "id": uuid7(),
                "kind": one.kind,
                "integration": one.integration,
                "subject_kind": one.subject.kind if one.subject else None,
                "subject_id": one.subject.id if one.subject else None,
                "inbox_id": one.inbox_id,
                "error": one.error,
                "attempts": one.attempts,
            }
            for one in failed
        ]
        await connection.execute(insert(dead_letters), rows)


async def close_for_subjects(
    connection: AsyncConnection, work: str, keys: Collection[tuple[UUID, UUID]], resolution: Resolution
) -> None:
    """Close the open dead letters of one kind of work for objects that are processed again, by (tenant, object)."""
    if keys:
        of_these = tuple_(dead_letters.c.tenant_id, dead_letters.c.subject_id).in_(list(keys))
        await _close(connection, (dead_letters.c.kind == work) & of_these, resolution)


async def close_for_webhooks(connection: AsyncConnection, tenant: UUID, inbox_ids: Collection[UUID]) -> None:
    """Close the open dead letters of webhooks that are processed again."""
    if inbox_ids:
        of_these = (dead_letters.c.tenant_id == tenant) & dead_letters.c.inbox_id.in_(list(inbox_ids))
        await _close(connection, of_these, Resolution.REQUEUED)


async def close_dead_letters(
    connection: AsyncConnection, tenant: UUID, ids: Collection[UUID], resolution: Resolution
) -> None:
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


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """Work that failed for good, and its resolution."""

    id: UUID
    kind: str
    integration: str | None
    subject: SubjectKey | None
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
    subject: SubjectKey | None = None
    is_resolved: bool = False
    failed: TimeRange = field(default_factory=TimeRange)


async def dead_letters_by_id(
    connection: AsyncConnection, tenant: UUID, ids: Collection[UUID]
) -> dict[UUID, DeadLetter]:
    """Read a tenant's dead letters by id; those it does not have are left out."""
    if not ids:
        return {}
    chosen = select(dead_letters).where(dead_letters.c.tenant_id == tenant, dead_letters.c.id.in_(list(ids)))
    return {row.id: _dead_letter(row) for row in await connection.execute(chosen)}


async def dead_letters_page(
    connection: AsyncConnection, tenant: UUID, which: PageRequest, condition: DeadLetterFilter
) -> tuple[Sequence[DeadLetter], bool]:
    """Read one page of a tenant's dead letters, newest first, and whether there are more."""
    statement = _filtered(select(dead_letters), tenant, condition)
    rows, has_more = await read_page(connection, statement, dead_letters.c.id, which)
    return [_dead_letter(row) for row in rows], has_more


async def count_dead_letters(connection: AsyncConnection, tenant: UUID, condition: DeadLetterFilter) -> int:
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
    if (subject := condition.subject) is not None:
        statement = statement.where(
            dead_letters.c.subject_id == subject.id, dead_letters.c.subject_kind == subject.kind
        )
    return in_range(statement, condition.failed, dead_letters.c.failed_at, dead_letters.c.id)


def _dead_letter(row: Row[Any]) -> DeadLetter:
    return DeadLetter(
        id=row.id,
        kind=row.kind,
        integration=row.integration,
        subject=None if row.subject_id is None else SubjectKey(row.subject_kind, row.subject_id),
        inbox_id=row.inbox_id,
        error=row.error,
        attempts=row.attempts,
        failed_at=row.failed_at,
        resolution=Resolution(row.resolution) if row.resolution else None,
    )
