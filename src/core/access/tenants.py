"""Which addresses are whose: decides the tenant of an inbound message."""

import time
from collections.abc import Iterable
from uuid import UUID
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import structlog
from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert

from core.access.tables import senders, tenants
from core.database import Database
from core.ports.principal import DEFAULT_TENANT


async def register_senders(database: Database, addresses: Iterable[tuple[str, str]]) -> None:
    """Give configured addresses, as (integration, address), to the default tenant unless another has them already."""
    rows = [
        {"tenant_id": DEFAULT_TENANT, "integration": integration, "address": address}
        for integration, address in addresses
    ]
    if rows:
        async with database.transaction(DEFAULT_TENANT) as connection:
            await connection.execute(insert(senders).values(rows).on_conflict_do_nothing())


# Where a tenant is at home: its time zone, remembered for a minute.


log = structlog.get_logger(__name__)

_KEPT = 60.0
_UTC = ZoneInfo("UTC")


class TenantZones:
    """Tells tenants' time zones."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: dict[UUID, tuple[ZoneInfo, float]] = {}

    async def of(self, tenant_id: UUID) -> ZoneInfo:
        """A tenant's zone; UTC, and a line in the log, where its row names none that exists. Raises Overloaded."""
        known = self._known.get(tenant_id)
        if known is None or time.monotonic() - known[1] > _KEPT:
            async with self._database.transaction(tenant_id) as connection:
                name = (
                    await connection.execute(select(tenants.c.time_zone).where(tenants.c.id == tenant_id))
                ).scalar_one_or_none()
            known = self._known[tenant_id] = (_read(name, tenant_id), time.monotonic())
        return known[0]


def _read(name: str | None, tenant_id: UUID) -> ZoneInfo:
    try:
        return ZoneInfo(name or "")
    except (ZoneInfoNotFoundError, ValueError, OSError):
        log.warning("time_zone_unknown", tenant=str(tenant_id), name=name)
        return _UTC
