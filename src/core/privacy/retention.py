"""How long each kind of data is kept, and the daily work that deletes what is older: in small transactions.

Data in use is kept, however old: a message's age counts from its last change, a webhook's from its arrival.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import structlog
from sqlalchemy import ColumnElement, func, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from core.database import Database
from core.inbox.closing import forget_webhooks
from core.inbox.tables import WebhookStatus, inbox
from core.messages.record import MessageKey
from core.messages.status import MessageStatus
from core.messages.tables import messages
from core.privacy.forget import forget_addresses, forget_content
from core.sealing import Sealer

log = structlog.get_logger(__name__)

BATCH = 500

AT_REST = (
    MessageStatus.SENT,
    MessageStatus.DELIVERED,
    MessageStatus.READ,
    MessageStatus.FAILED,
    MessageStatus.CANCELED,
)


@dataclass(frozen=True, slots=True)
class Retention:
    """How long each kind of data is kept; None is for ever."""

    content: timedelta | None = None
    addresses: timedelta | None = None
    webhooks: timedelta | None = None

    @classmethod
    def in_days(cls, *, content: int, addresses: int, webhooks: int) -> "Retention":
        """From numbers of days; zero is for ever."""
        kept = [timedelta(days=days) if days else None for days in (content, addresses, webhooks)]
        return cls(*kept)


async def forget_expired_data(
    database: Database, sealer: Sealer, kept: Retention, *, batch: int = BATCH
) -> dict[str, int]:
    """Delete the data of all tenants that is older than its retention; returns how many rows lost each kind."""
    done: dict[str, int] = {}
    for kind, age in (("content", kept.content), ("addresses", kept.addresses), ("webhooks", kept.webhooks)):
        if age is None:
            continue
        since: datetime | None = None
        while True:
            count, since = await _step(database, sealer, kind, age, since, batch)
            done[kind] = done.get(kind, 0) + count
            if count < batch:
                break
    log.info("old_data_forgotten", **done)
    return done


async def _step(
    database: Database, sealer: Sealer, kind: str, age: timedelta, since: datetime | None, batch: int
) -> tuple[int, datetime | None]:
    async with database.transaction() as connection:
        if kind == "webhooks":
            rows = await _old_webhooks(connection, age, since, batch)
            await forget_webhooks(connection, sealer, rows)
            return len(rows), rows[-1].received_at if rows else None
        sealed = messages.c.content_sealed if kind == "content" else messages.c.to_sealed
        rows = await _old_messages(connection, sealed.is_not(None), age, since, batch)
        keys = [MessageKey(row.tenant_id, row.id) for row in rows]
        if keys and kind == "content":
            await forget_content(connection, keys)
        elif keys:
            await forget_addresses(connection, sealer, keys)
        return len(rows), rows[-1].created_at if rows else None


async def _old_messages(
    connection: AsyncConnection, has_it: ColumnElement[bool], age: timedelta, since: datetime | None, batch: int
) -> Sequence[Any]:
    old = func.now() - age
    statement = (
        select(messages.c.tenant_id, messages.c.id, messages.c.created_at)
        .where(
            has_it,
            messages.c.created_at < old,
            messages.c.updated_at < old,
            messages.c.due_at.is_(None),
            messages.c.lease_until.is_(None),
            messages.c.status.in_([status.value for status in AT_REST]),
        )
        .order_by(messages.c.created_at)
        .limit(batch)
        .with_for_update(skip_locked=True)
    )
    if since is not None:
        statement = statement.where(messages.c.created_at >= since)
    return (await connection.execute(statement)).all()


async def _old_webhooks(
    connection: AsyncConnection, age: timedelta, since: datetime | None, batch: int
) -> Sequence[Any]:
    statement = (
        select(inbox.c.tenant_id, inbox.c.id, inbox.c.dedupe_key, inbox.c.received_at)
        .where(
            or_(inbox.c.event_sealed.is_not(None), inbox.c.raw_sealed.is_not(None)),
            inbox.c.received_at < func.now() - age,
            inbox.c.status != WebhookStatus.RECEIVED.value,
        )
        .order_by(inbox.c.received_at)
        .limit(batch)
        .with_for_update(skip_locked=True)
    )
    if since is not None:
        statement = statement.where(inbox.c.received_at >= since)
    return (await connection.execute(statement)).all()
