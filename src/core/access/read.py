"""Reading people, and the organisations whose data a tenant is."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import ColumnElement, exists, literal, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from core.access.news import keep_subject
from core.access.profile import Profile, open_profile
from core.access.tables import memberships, tenants, users
from core.sealing import Sealer


@dataclass(frozen=True, slots=True)
class User:
    """A person who has signed in here, or of whom we were told."""

    id: UUID
    profile: Profile
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Organization:
    """A business: the tenant that everything else belongs to."""

    id: UUID
    name: str
    time_zone: str
    default_currency: str


async def user_of(connection: AsyncConnection, sealer: Sealer, subject: str) -> User:
    """Read the person behind a token's subject; noted on the way, as is whose they are, where nobody has told of it."""
    if found := await _users(connection, sealer, users.c.subject == subject):
        return found[0]
    row = await keep_subject(connection, subject)
    # Only the tenants a transaction names can be seen in it: this is the caller's own.
    joined = insert(memberships).from_select(["tenant_id", "user_id"], select(tenants.c.id, literal(row)))
    await connection.execute(joined.on_conflict_do_nothing())
    [kept] = await _users(connection, sealer, users.c.id == row)
    return kept


async def users_by_id(
    connection: AsyncConnection, sealer: Sealer, ids: Collection[UUID], *, tenant: UUID | None, subject: str
) -> dict[UUID, User]:
    """Read people: the caller's own self, and with `tenant` whoever belongs to it; all others are left out."""
    may_see: ColumnElement[bool] = users.c.subject == subject
    if tenant is not None:
        membership = (memberships.c.tenant_id == tenant) & (memberships.c.user_id == users.c.id)
        may_see |= exists().where(membership, memberships.c.deleted_at.is_(None))
    return {one.id: one for one in await _users(connection, sealer, users.c.id.in_(ids), may_see)}


async def organization_of(connection: AsyncConnection, tenant: UUID) -> Organization | None:
    """Read a tenant."""
    row = (await connection.execute(select(tenants).where(tenants.c.id == tenant))).one_or_none()
    return None if row is None else Organization(row.id, row.name, row.time_zone, row.default_currency)


async def tenant_stands(connection: AsyncConnection, tenant: UUID) -> bool:
    """Whether a tenant exists and was not deleted; the transaction names it."""
    there = select(tenants.c.id).where(tenants.c.id == tenant, tenants.c.deleted_at.is_(None))
    return (await connection.execute(there)).first() is not None


async def _users(connection: AsyncConnection, sealer: Sealer, *conditions: ColumnElement[bool]) -> list[User]:
    rows = await connection.execute(select(users.c.id, users.c.profile_sealed, users.c.created_at).where(*conditions))
    return [User(row.id, open_profile(sealer, row.id, row.profile_sealed), row.created_at) for row in rows]
