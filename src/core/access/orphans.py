"""API keys whose maker is gone: deleted, banned, or no longer of the organisation. Migration 0035 holds the rule."""

from collections.abc import Collection
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from core.access.principal import ActorKind
from core.audit.act import Act, Author

ACTION, SYSTEM = "revokeOrphanedKeys", "interalpha"
"""What the audit log calls it, and who does it."""

_FIND = text("SELECT id FROM orphaned_keys() WHERE tenant_id = :tenant")
_REVOKE = text("SELECT tenant_id, id FROM revoke_orphaned_keys()")


async def orphaned(connection: AsyncConnection, tenant: UUID) -> Collection[UUID]:
    """The keys of a tenant that let somebody in and whose maker is gone."""
    return set((await connection.execute(_FIND, {"tenant": tenant})).scalars())


async def revoke_orphaned(connection: AsyncConnection) -> int:
    """Revoke the keys of all tenants whose maker is gone, with an audit event each; returns how many."""
    rows = (await connection.execute(_REVOKE)).all()
    for row in rows:
        await Act(row.tenant_id, Author(SYSTEM, ActorKind.SYSTEM, ACTION)).done(connection, "ApiKey", [row.id])
    return len(rows)
