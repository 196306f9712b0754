"""Reading the inbox: what companies told us and what became of it; their own words only redacted."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Row, Select, func, literal_column, select
from sqlalchemy.ext.asyncio import AsyncConnection

from core.errors import Unreadable
from core.sealing import SealBroken, Sealer
from core.slicing import Slice, Span, read_slice, storable, within
from core.webhooks.redaction import Json, redacted
from core.webhooks.tables import inbox
from core.webhooks.values import WebhookStatus

LARGEST_PAYLOAD = 256 * 1024
"""Bytes of a payload that is shown; what a forger of batches would fill pages with is not."""

_PLAIN = [column for column in inbox.columns if not column.name.endswith("_sealed")]


@dataclass(frozen=True, slots=True)
class Webhook:
    """Something a company told us."""

    id: UUID
    integration: str
    dedupe_key: str
    event_type: str
    status: WebhookStatus
    message_id: UUID | None
    error: str | None
    attempts: int
    received_at: datetime
    processed_at: datetime | None


@dataclass(frozen=True, slots=True)
class WebhookFilter:
    """All given conditions must hold; a list holds when any of its values does, an empty one never."""

    integrations: Sequence[str] | None = None
    statuses: Sequence[WebhookStatus] | None = None
    event_type: str | None = None
    message_id: UUID | None = None
    received: Span = field(default_factory=Span)


async def by_ids(connection: AsyncConnection, tenant: UUID, ids: Collection[UUID]) -> dict[UUID, Webhook]:
    """Read a tenant's webhooks by id; those it does not have are left out."""
    rows = await connection.execute(select(*_PLAIN).where(inbox.c.tenant_id == tenant, inbox.c.id.in_(list(ids))))
    return {row.id: _webhook(row) for row in rows}


async def page(
    connection: AsyncConnection, tenant: UUID, which: Slice, condition: WebhookFilter
) -> tuple[Sequence[Webhook], bool]:
    """Read one page of a tenant's webhooks, newest first, and whether there are more."""
    rows, has_more = await read_slice(connection, _filtered(select(*_PLAIN), tenant, condition), inbox.c.id, which)
    return [_webhook(row) for row in rows], has_more


async def payloads(
    connection: AsyncConnection, sealer: Sealer, tenant: UUID, ids: Collection[UUID]
) -> dict[UUID, "Json | Unreadable"]:
    """Open what companies sent, redacted; what is too large is left out, and what cannot be opened is Unreadable."""
    rows = await connection.execute(
        select(inbox.c.id, inbox.c.raw_sealed).where(
            inbox.c.tenant_id == tenant,
            inbox.c.id.in_(list(ids)),
            inbox.c.raw_sealed.is_not(None),
            func.octet_length(inbox.c.raw_sealed) <= LARGEST_PAYLOAD,
        )
    )
    found: dict[UUID, Json | Unreadable] = {}
    for row in rows:
        try:
            found[row.id] = redacted(sealer.open(row.raw_sealed, tenant=tenant, row=row.id, column="raw"))
        except SealBroken:
            found[row.id] = Unreadable(sealer.missing_key(row.raw_sealed))
    return found


def _filtered(statement: Select[Any], tenant: UUID, condition: WebhookFilter) -> Select[Any]:
    statement = statement.where(inbox.c.tenant_id == tenant)
    if condition.integrations is not None:
        statement = statement.where(inbox.c.integration.in_(condition.integrations))
    if condition.statuses is not None:
        statement = statement.where(_is_one_of(condition.statuses))
    if condition.event_type is not None:
        statement = statement.where(inbox.c.event_type.in_(storable([condition.event_type])))
    if condition.message_id is not None:
        statement = statement.where(inbox.c.message_id == condition.message_id)
    return within(statement, condition.received, inbox.c.received_at, inbox.c.id)


def _is_one_of(statuses: Sequence[WebhookStatus]) -> ColumnElement[bool]:
    # Words instead of parameters, since only then does the partial index on what failed fit them.
    return inbox.c.status.in_([literal_column(f"'{status.value}'") for status in statuses])


def _webhook(row: Row[Any]) -> Webhook:
    return Webhook(
        id=row.id,
        integration=row.integration,
        dedupe_key=row.dedupe_key,
        event_type=row.event_type,
        status=WebhookStatus(row.status),
        message_id=row.message_id,
        error=row.error,
        attempts=row.attempts,
        received_at=row.received_at,
        processed_at=row.processed_at,
    )
