"""Tenants: the sender addresses that belong to them, and their time zones."""

from collections.abc import Iterable
from uuid import UUID
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import structlog
from cachetools import TTLCache
from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert

from core.access.tables import senders, tenants
from core.database import Database
from core.ports.principal import DEFAULT_TENANT

log = structlog.get_logger(__name__)

_CACHE_SECONDS = 60.0
_CACHE_SIZE = 10_000
_UTC = ZoneInfo("UTC")


async def register_senders(database: Database, addresses: Iterable[tuple[str, str]]) -> None:
    """Give configured addresses, as (integration, address), to the default tenant unless another has them already."""
    rows = [
        {"tenant_id": DEFAULT_TENANT, "integration": integration, "address": address}
        for integration, address in addresses
    ]
    if rows:
        async with database.transaction(DEFAULT_TENANT) as connection:
            await connection.execute(insert(senders).values(rows).on_conflict_do_nothing())


class TenantZones:
    """Tells tenants' time zones, each read again after a minute."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: TTLCache[UUID, ZoneInfo] = TTLCache(_CACHE_SIZE, _CACHE_SECONDS)

    async def of(self, tenant_id: UUID) -> ZoneInfo:
        """A tenant's zone; UTC, and a line in the log, where its row names none that exists. Raises Overloaded."""
        if (known := self._known.get(tenant_id)) is not None:
            return known
        async with self._database.transaction(tenant_id) as connection:
            name = (
                await connection.execute(select(tenants.c.time_zone).where(tenants.c.id == tenant_id))
            ).scalar_one_or_none()
        zone = self._known[tenant_id] = _read(name, tenant_id)
        return zone


def _read(name: str | None, tenant_id: UUID) -> ZoneInfo:
    try:
        return ZoneInfo(name or "")
    except (ZoneInfoNotFoundError, ValueError, OSError):
        log.warning("time_zone_unknown", tenant=str(tenant_id), name=name)
        return _UTC
