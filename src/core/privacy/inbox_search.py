"""Searching what companies sent for one person: nothing but opening it tells whom it names."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import Row, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from core.privacy.person import Person
from core.sealing import SealBroken, Sealer
from core.webhooks.tables import inbox
from core.webhooks.values import WebhookStatus

log = structlog.get_logger(__name__)

_PARTS = {"event": "event_sealed", "raw": "raw_sealed"}


@dataclass(frozen=True, slots=True)
class Found:
    """Rows to be forgotten; `reached` is how far the search has come, `waits` whether one is yet to be applied."""

    to_forget: Sequence[Row[Any]]
    reached: UUID | None
    waits: bool
    is_end: bool


async def search(
    connection: AsyncConnection, sealer: Sealer, tenant: UUID, person: Person, after: UUID | None, batch: int
) -> Found:
    """Look through the next webhooks of a tenant that are still kept.

    One that waits to be applied may yet bring a message of the person's: the search goes no further than before it. Nor
    does it pass one whose key is missing here, since another process may read a name in it.
    """
    statement = (
        select(inbox.c.tenant_id, inbox.c.id, inbox.c.dedupe_key, *(inbox.c[c] for c in _PARTS.values()))
        .where(inbox.c.tenant_id == tenant, or_(inbox.c.event_sealed.is_not(None), inbox.c.raw_sealed.is_not(None)))
        .order_by(inbox.c.id)
        .limit(batch)
    )
    if after is not None:
        statement = statement.where(inbox.c.id > after)
    rows = (await connection.execute(statement)).all()
    closed = [row.id for row in rows if _lies_under_a_missing_key(sealer, row)]
    naming = {row.id for row in rows if row.id not in closed and _names(sealer, row, person)}
    at_rest = await _hold_at_rest(connection, tenant, naming)
    found: list[Row[Any]] = []
    reached = after
    for row in rows:
        if row.id in closed:
            log.warning("erasure_waits", inbox_id=str(row.id), reason="a webhook lies under a key that is missing here")
            return Found(found, reached, waits=True, is_end=False)
        if row.id in naming:
            if row.id not in at_rest:
                return Found(found, reached, waits=True, is_end=False)
            found.append(row)
        reached = row.id
    return Found(found, reached, waits=False, is_end=len(rows) < batch)


async def _hold_at_rest(connection: AsyncConnection, tenant: UUID, ids: Collection[UUID]) -> frozenset[UUID]:
    """Lock those that do not wait to be applied; since they were read, somebody may have asked for one to be again."""
    if not ids:
        return frozenset()
    held = (
        select(inbox.c.id)
        .where(inbox.c.tenant_id == tenant, inbox.c.id.in_(ids), inbox.c.status != WebhookStatus.RECEIVED.value)
        .order_by(inbox.c.id)
        .with_for_update()
    )
    return frozenset((await connection.execute(held)).scalars())


def _lies_under_a_missing_key(sealer: Sealer, row: Row[Any]) -> bool:
    sealed = (getattr(row, column) for column in _PARTS.values())
    return any(one is not None and sealer.missing_key(one) for one in sealed)


def _names(sealer: Sealer, row: Row[Any], person: Person) -> bool:
    return person.is_in(row.dedupe_key) or any(
        sealed is not None and _opened_names(sealer, row, name, sealed, person)
        for name, column in _PARTS.items()
        for sealed in [getattr(row, column)]
    )


def _opened_names(sealer: Sealer, row: Row[Any], name: str, sealed: bytes, person: Person) -> bool:
    try:
        return person.is_in(sealer.open(sealed, tenant=row.tenant_id, row=row.id, column=name))
    except SealBroken:
        # Nobody can read it, so nobody can be recognised by it either.
        return False
