"""Asking for everything about one person to be erased, and reading how far that has come."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from core.addresses import lookup_form
from core.identifiers import uuid7
from core.privacy.person import Person
from core.privacy.tables import erasures
from core.sealing import Sealer

RECIPIENT = "recipient"


@dataclass(frozen=True, slots=True)
class Erasure:
    """An erasure: what it has taken out so far, and whether it is done; whom it was about is not in it."""

    id: UUID
    messages: int
    canceled: int
    webhooks: int
    names: int
    requested_at: datetime
    finished_at: datetime | None


async def request(connection: AsyncConnection, sealer: Sealer, tenant: UUID, person: Person) -> UUID:
    """Ask for somebody to be erased; while that goes on, asking again is the same erasure."""
    row, hashes = uuid7(), sealer.lookup_hashes(lookup_form(person.address), tenant=tenant)
    open_one = select(erasures.c.id).where(
        erasures.c.tenant_id == tenant, erasures.c.recipient_hash.in_(hashes), erasures.c.finished_at.is_(None)
    )
    earlier: UUID | None = (await connection.execute(open_one.limit(1))).scalar()
    if earlier is not None:
        return earlier
    made: UUID | None = (
        await connection.execute(
            insert(erasures)
            .values(
                tenant_id=tenant,
                id=row,
                recipient_sealed=sealer.seal(person.address, tenant=tenant, row=row, column=RECIPIENT),
                recipient_hash=hashes[0],
            )
            .on_conflict_do_nothing()
            .returning(erasures.c.id)
        )
    ).scalar()
    # Somebody asked at the same moment: theirs is committed by now, or this would still wait for it.
    return made or (await connection.execute(open_one.limit(1))).scalar_one()


async def by_ids(connection: AsyncConnection, tenant: UUID, ids: Collection[UUID]) -> dict[UUID, Erasure]:
    """Read erasures by their ids; those the tenant does not have are left out."""
    chosen = select(erasures).where(erasures.c.tenant_id == tenant, erasures.c.id.in_(list(ids)))
    return {
        row.id: Erasure(row.id, row.messages, row.canceled, row.webhooks, row.names, row.requested_at, row.finished_at)
        for row in await connection.execute(chosen)
    }
