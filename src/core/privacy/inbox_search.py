"""Webhooks in the inbox that are about a person: found by the objects they are about, and by opening and searching."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import Row, or_, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from core.inbox.tables import WebhookStatus, inbox
from core.nouns import PersonStep, SubjectKey
from core.person import Person
from core.sealing import SealBroken, Sealer

log = structlog.get_logger(__name__)

_PARTS = {"event": "event_sealed", "raw": "raw_sealed"}
_IS_KEPT = or_(inbox.c.event_sealed.is_not(None), inbox.c.raw_sealed.is_not(None))


async def webhooks_about(connection: AsyncConnection, tenant: UUID, subjects: Collection[SubjectKey]) -> Sequence[Any]:
    """Lock the processed webhooks about objects whose content is still stored."""
    if not subjects:
        return []
    rows = await connection.execute(
        select(inbox.c.tenant_id, inbox.c.id, inbox.c.dedupe_key)
        .where(
            inbox.c.tenant_id == tenant,
            tuple_(inbox.c.subject_kind, inbox.c.subject_id).in_(subjects),
            # Repeated, so that the index on the id alone is used.
            inbox.c.subject_id.in_([one.id for one in subjects]),
            inbox.c.status != WebhookStatus.RECEIVED.value,
            _IS_KEPT,
        )
        .order_by(inbox.c.id)
        .with_for_update()
    )
    return rows.all()


@dataclass(frozen=True, slots=True)
class InboxSearch:
    """Rows to be forgotten; `reached` is how far the search got, `waits` whether it has to wait for a row."""

    to_forget: Sequence[Row[Any]]
    reached: UUID | None
    waits: bool
    is_end: bool


async def search_inbox(step: PersonStep, after: UUID | None) -> InboxSearch:
    """Search the next webhooks of a tenant whose content is stored.

    A webhook that waits to be applied may still add an object of the person: the search stops before it. It also stops
    before one whose key is missing here, since another process may find the person in it.
    """
    page = await read_page(step, after)
    at_rest = await _lock_at_rest(step.connection, step.tenant_id, page.naming)
    found: list[Row[Any]] = []
    reached = after
    for row in page.rows:
        if row.id in page.closed:
            log.warning("erasure_waits", inbox_id=str(row.id), reason="a webhook lies under a key that is missing here")
            return InboxSearch(found, reached, waits=True, is_end=False)
        if row.id in page.naming:
            if row.id not in at_rest:
                return InboxSearch(found, reached, waits=True, is_end=False)
            found.append(row)
        reached = row.id
    return InboxSearch(found, reached, waits=False, is_end=page.is_end)


@dataclass(frozen=True, slots=True)
class SearchedPage:
    """The next webhooks: those that name the person, and those under a key that is missing here, by their ids."""

    rows: Sequence[Row[Any]]
    naming: frozenset[UUID]
    closed: frozenset[UUID]
    is_end: bool


async def read_page(step: PersonStep, after: UUID | None) -> SearchedPage:
    """Read and open the next webhooks of a tenant whose content is stored."""
    statement = (
        select(
            inbox.c.tenant_id,
            inbox.c.id,
            inbox.c.dedupe_key,
            inbox.c.integration,
            inbox.c.event_type,
            inbox.c.status,
            inbox.c.received_at,
            *(inbox.c[name] for name in _PARTS.values()),
        )
        .where(inbox.c.tenant_id == step.tenant_id, _IS_KEPT)
        .order_by(inbox.c.id)
        .limit(step.limit)
    )
    if after is not None:
        statement = statement.where(inbox.c.id > after)
    rows = (await step.connection.execute(statement)).all()
    closed = frozenset(row.id for row in rows if _lies_under_a_missing_key(step.sealer, row))
    naming = frozenset(row.id for row in rows if row.id not in closed and _names(step.sealer, row, step.person))
    return SearchedPage(rows, naming, closed, len(rows) < step.limit)


async def _lock_at_rest(connection: AsyncConnection, tenant: UUID, ids: Collection[UUID]) -> frozenset[UUID]:
    """Lock those that do not wait to be applied; meanwhile an operator may have requested that one is applied again."""
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
        # It cannot be read, so it identifies no one.
        return False
