"""Exporting a person's data: what the nouns hold of the person, and the webhooks that name the person, as JSON values.

Each page is read in a transaction of its own, so an object that is added meanwhile may be in it or not.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Row

from core.database import Database
from core.nouns import PersonalData, PersonStep
from core.person import Person
from core.privacy.inbox_search import read_page
from core.sealing import SealBroken, Sealer

BATCH = 200
WEBHOOK, INCOMPLETE = "WebhookDelivery", "Incomplete"


async def export_person(
    database: Database,
    sealer: Sealer,
    tenant: UUID,
    person: Person,
    nouns: Sequence[PersonalData],
    *,
    batch: int = BATCH,
) -> AsyncIterator[Mapping[str, Any]]:
    """Yield everything that a tenant holds of a person.

    The last value has the type `Incomplete` where webhooks are sealed with a key that is missing here: they may name
    the person.
    """
    for noun in nouns:
        after: UUID | None = None
        while True:
            async with database.transaction(tenant) as connection:
                page = await noun.export(PersonStep(connection, sealer, tenant, person, batch), after)
            if not page:
                break
            for one in page:
                yield one
            after = UUID(page[-1]["id"])
    async for one in _webhooks(database, sealer, tenant, person, batch):
        yield one


async def _webhooks(
    database: Database, sealer: Sealer, tenant: UUID, person: Person, batch: int
) -> AsyncIterator[Mapping[str, Any]]:
    after: UUID | None = None
    unreadable = 0
    while True:
        async with database.transaction(tenant) as connection:
            page = await read_page(PersonStep(connection, sealer, tenant, person, batch), after)
        unreadable += len(page.closed)
        for row in page.rows:
            if row.id in page.naming:
                yield _exported(sealer, row)
        if page.is_end:
            break
        after = page.rows[-1].id
    if unreadable:
        yield {"type": INCOMPLETE, "unreadableWebhooks": unreadable}


def _exported(sealer: Sealer, row: Row[Any]) -> dict[str, Any]:
    return {
        "type": WEBHOOK,
        "id": str(row.id),
        "integration": row.integration,
        "eventType": row.event_type,
        "status": row.status,
        "receivedAt": row.received_at.isoformat(),
        "payload": _payload(sealer, row),
    }


def _payload(sealer: Sealer, row: Row[Any]) -> str | None:
    """What the provider sent, as text; None where it is no longer stored, or was altered."""
    if row.raw_sealed is None:
        return None
    try:
        return sealer.open(row.raw_sealed, tenant=row.tenant_id, row=row.id, column="raw")
    except SealBroken:
        return None
