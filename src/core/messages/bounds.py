"""Which messages lie outside a caller's reach: who may not send to somebody may not have it tried again either."""

from collections.abc import Collection
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from core.access.reach import EVERYWHERE, Reach
from core.messages.tables import messages
from core.sealing import SealBroken, Sealer


@dataclass(frozen=True, slots=True)
class Bounds:
    """A caller's reach, and what reads the addresses it is compared with."""

    sealer: Sealer
    reach: Reach

    async def outside(self, connection: AsyncConnection, tenant: UUID, ids: Collection[UUID]) -> frozenset[UUID]:
        """Those messages, of a tenant's, that this caller could not have sent."""
        if self.reach == EVERYWHERE:
            return frozenset()
        columns = (messages.c.id, messages.c.to_sealed, messages.c.simulated_only)
        chosen = select(*columns).where(messages.c.tenant_id == tenant, messages.c.id.in_(list(ids)))
        rows = (await connection.execute(chosen)).all()
        return frozenset(row.id for row in rows if not self._holds(tenant, row.id, row.to_sealed, row.simulated_only))

    def _holds(self, tenant: UUID, row: UUID, to_sealed: bytes | None, simulated_only: bool) -> bool:
        if self.reach.simulated_only and not simulated_only:
            return False
        # What is no longer kept is refused for that, whoever asks.
        if self.reach.recipients is None or to_sealed is None:
            return True
        try:
            return self.reach.allows(self.sealer.open(to_sealed, tenant=tenant, row=row, column="to"))
        except SealBroken:
            # Nobody can say whom it goes to: one such message must not keep the others back.
            return False
