"""How long each kind of data is kept, and the daily work that deletes what is older: in small transactions.

Data in use is kept, however old: an object's age counts from its last change, a webhook's from its arrival.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import structlog
from sqlalchemy import func, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from core.database import Database
from core.inbox.closing import forget_webhooks
from core.inbox.tables import WebhookStatus, inbox
from core.nouns import DataKind, ExpiryStep, Forgotten, PersonalData
from core.sealing import Sealer

log = structlog.get_logger(__name__)

BATCH = 500


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
    database: Database, sealer: Sealer, kept: Retention, nouns: Sequence[PersonalData], *, batch: int = BATCH
) -> dict[str, int]:
    """Delete the data of all tenants that is older than its retention; returns how many rows lost each kind.

    Where deleting one noun's data fails, that of the others is deleted all the same; then an ExceptionGroup is raised.
    """
    done: dict[str, int] = {}
    failures: list[Exception] = []
    for name, age, forget in _deletions(kept, nouns):
        done.setdefault(name, 0)
        try:
            async for count in _steps(database, sealer, age, forget, batch):
                done[name] += count
        except Exception as error:
            log.exception("old_data_kept", kind=name)
            failures.append(error)
    log.info("old_data_forgotten", **done)
    if failures:
        raise ExceptionGroup("old data was not deleted", failures)
    return done


Forget = Callable[[ExpiryStep], Awaitable[Forgotten]]


def _deletions(kept: Retention, nouns: Sequence[PersonalData]) -> Iterator[tuple[str, timedelta, Forget]]:
    """What has to be deleted: the name of its kind, its age, and how."""
    for kind, age in ((DataKind.CONTENT, kept.content), (DataKind.ADDRESSES, kept.addresses)):
        if age is not None:
            yield from ((kind.value, age, one.forget) for noun in nouns for one in noun.expired if one.kind is kind)
    if kept.webhooks is not None:
        yield "webhooks", kept.webhooks, _forget_old_webhooks


async def _steps(database: Database, sealer: Sealer, age: timedelta, forget: Forget, batch: int) -> AsyncIterator[int]:
    since: datetime | None = None
    while True:
        async with database.transaction() as connection:
            done = await forget(ExpiryStep(connection, sealer, age, since, batch))
        yield done.objects
        if done.objects < batch:
            return
        since = done.since


async def _forget_old_webhooks(step: ExpiryStep) -> Forgotten:
    rows = await _old_webhooks(step.connection, step.age, step.since, step.limit)
    await forget_webhooks(step.connection, step.sealer, rows)
    return Forgotten(len(rows), rows[-1].received_at if rows else None)


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
