"""Tenants: whether one exists, the sender addresses that belong to it, and its time zone."""

import time
from collections.abc import Callable, Iterable
from uuid import UUID
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import structlog
from cachetools import TTLCache
from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from core.access.tables import senders, tenants
from core.database import Database
from core.errors import Unauthenticated
from core.ports.principal import DEFAULT_TENANT
from core.words import say

log = structlog.get_logger(__name__)

CACHE_SECONDS = 2.0
"""How long an answer about a tenant is used: a deleted one may be served for so long."""
ZONE_SECONDS = 60.0
_CACHE_SIZE = 10_000
_UTC = ZoneInfo("UTC")


class Tenants:
    """Says whether a tenant exists; an answer is kept for two seconds."""

    def __init__(self, database: Database, clock: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._known: TTLCache[UUID, bool] = TTLCache(_CACHE_SIZE, CACHE_SECONDS, clock)

    async def has(self, tenant: UUID) -> bool:
        """Whether a tenant exists and was not deleted; raises Overloaded."""
        if (known := self._known.get(tenant)) is not None:
            return known
        async with self._database.transaction(tenant) as connection:
            found = await tenant_exists(connection, tenant)
        self._known[tenant] = found
        return found


def tenant_unknown() -> Unauthenticated:
    """The error for credentials of a tenant that does not exist."""
    return Unauthenticated(
        say("TENANT_UNKNOWN", "These credentials belong to a tenant that does not exist here, or was deleted.")
    )


async def tenant_exists(connection: AsyncConnection, tenant: UUID) -> bool:
    """Whether a tenant exists and was not deleted; the transaction names it."""
    there = select(tenants.c.id).where(tenants.c.id == tenant, tenants.c.deleted_at.is_(None))
    return (await connection.execute(there)).first() is not None


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
        self._known: TTLCache[UUID, ZoneInfo] = TTLCache(_CACHE_SIZE, ZONE_SECONDS)

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
