"""Tenants, people and organisations: what is known of them, and how the identity provider's events change it."""

import json
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import structlog
from cachetools import TTLCache
from sqlalchemy import ColumnElement, case, exists, func, literal, or_, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from core.access.tables import ended_sessions, memberships, senders, tenants, users
from core.database import Database
from core.errors import Unauthenticated
from core.ids import uuid7
from core.ports import DirectoryChanged, Membership, OrganizationNamed, Person, SessionEnded
from core.ports.identity import DEFAULT_TENANT
from core.sealing import NO_TENANT, SealBroken, Sealer
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


# People and organisations: applying the identity provider's events, and reading what is known of them.
#
# Events are applied in whatever order they arrive: the newest wins, and a deletion is final. The same set of events
# leaves the same rows, in whatever order and however often they came.


# A person may work for several tenants, so the row belongs to none.
_COLUMN = "profile"


@dataclass(frozen=True, slots=True)
class Profile:
    """A person's name, e-mail address and picture; what is not known is None."""

    name: str | None = None
    email: str | None = None
    avatar_url: str | None = None


def seal_profile(sealer: Sealer, row: UUID, profile: Profile) -> bytes:
    """Seal a profile for the row of its person."""
    text = json.dumps({"name": profile.name, "email": profile.email, "avatarUrl": profile.avatar_url})
    return sealer.seal(text, tenant=NO_TENANT, row=row, column=_COLUMN)


def open_profile(sealer: Sealer, row: UUID, sealed: bytes | None) -> Profile:
    """Open what `seal_profile` sealed; an empty one where nothing is stored, or where it cannot be opened here."""
    if sealed is None:
        return Profile()
    try:
        data = json.loads(sealer.open(sealed, tenant=NO_TENANT, row=row, column=_COLUMN))
    except SealBroken as error:
        # The person can sign in all the same, without a name.
        log.warning("profile_unreadable", user_id=str(row), reason=str(error))
        return Profile()
    return Profile(data["name"], data["email"], data["avatarUrl"])


Subject = Person | OrganizationNamed | Membership | SessionEnded


def subject_to_json(subject: Subject) -> dict[str, Any]:
    """The subject of an event, as JSON for a sealed column."""
    match subject:
        case Person():
            person = {"id": subject.id, "name": subject.name, "email": subject.email, "avatarUrl": subject.avatar_url}
            return {"person": person | {"isBanned": subject.is_banned}}
        case OrganizationNamed():
            return {"organization": {"id": subject.id, "name": subject.name}}
        case Membership():
            member = {"userId": subject.user_id, "organizationId": subject.organization_id, "role": subject.role}
            return {"membership": member}
        case SessionEnded():
            return {"session": {"id": subject.session_id}}


def subject_from_json(data: dict[str, Any]) -> Subject:
    """Read what `subject_to_json` wrote."""
    if one := data.get("person"):
        # Earlier versions did not write it.
        return Person(one["id"], one["name"], one["email"], one["avatarUrl"], one.get("isBanned", False))
    if one := data.get("organization"):
        return OrganizationNamed(one["id"], one["name"])
    if one := data.get("session"):
        return SessionEnded(one["id"])
    one = data["membership"]
    return Membership(one["userId"], one["organizationId"], one["role"])


ENDED_SESSIONS_KEPT = timedelta(days=31)
"""Longer than the longest life that CLERK_TOKEN_LIFETIME may give a token, which is a day."""


async def apply_directory_event(connection: AsyncConnection, sealer: Sealer, event: DirectoryChanged) -> None:
    """Apply an event about a person, an organisation, a membership or a session."""
    gone_at = event.at if event.is_deleted else None
    match event.subject:
        case Person() as person:
            await _apply_person(connection, sealer, person, event.at, gone_at)
        case OrganizationNamed() as organization:
            at = None if event.is_deleted else event.at
            await upsert_organization(connection, organization, at=at, gone_at=gone_at)
        case Membership() as membership:
            await _apply_membership(connection, membership, event.at, gone_at)
        case SessionEnded() as ended:
            kept = insert(ended_sessions).values(session_id=ended.session_id, ended_at=event.at)
            await connection.execute(kept.on_conflict_do_nothing())


async def delete_old_session_ends(connection: AsyncConnection) -> None:
    """Delete the ends of sessions whose tokens have all expired."""
    oldest = func.now() - ENDED_SESSIONS_KEPT
    await connection.execute(ended_sessions.delete().where(ended_sessions.c.ended_at < oldest))


async def upsert_organization(
    connection: AsyncConnection,
    organization: OrganizationNamed,
    *,
    at: datetime | None = None,
    gone_at: datetime | None = None,
) -> UUID:
    """The tenant of an organisation, added where there is none; a newer name replaces an older one."""
    kept = await connection.execute(
        select(func.keep_organization(uuid7(), organization.id, organization.name, at, gone_at))
    )
    return UUID(str(kept.scalar_one()))


async def upsert_user(connection: AsyncConnection, subject: str) -> UUID:
    """The row of a person by the subject of their tokens, added where there is none."""
    kept = await connection.execute(select(func.keep_person(uuid7(), subject)))
    return UUID(str(kept.scalar_one()))


async def _apply_person(
    connection: AsyncConnection, sealer: Sealer, person: Person, at: datetime, gone_at: datetime | None
) -> None:
    # A sealed value names its row, so the row comes first.
    row = await upsert_user(connection, person.id)
    profile = Profile(person.name, person.email, person.avatar_url)
    is_gone = or_(users.c.deleted_at.is_not(None), literal(gone_at is not None))
    changed = (
        users.update()
        .where(users.c.id == row)
        .values(
            profile_sealed=case(
                # Of a deleted person nothing personal is kept, and a late event brings nothing back.
                (is_gone, None),
                (_is_older(users.c.clerk_updated_at, at), seal_profile(sealer, row, profile)),
                else_=users.c.profile_sealed,
            ),
            is_banned=users.c.is_banned
            if gone_at
            else case((_is_older(users.c.clerk_updated_at, at), literal(person.is_banned)), else_=users.c.is_banned),
            clerk_updated_at=users.c.clerk_updated_at if gone_at else func.greatest(users.c.clerk_updated_at, at),
            deleted_at=func.least(users.c.deleted_at, gone_at),
        )
    )
    await connection.execute(changed)


async def _apply_membership(
    connection: AsyncConnection, membership: Membership, at: datetime, gone_at: datetime | None
) -> None:
    # The event may come before those of the person and the organisation.
    user = await upsert_user(connection, membership.user_id)
    tenant = await upsert_organization(connection, OrganizationNamed(membership.organization_id))
    reported = insert(memberships).values(
        tenant_id=tenant,
        user_id=user,
        role=None if gone_at else membership.role,
        clerk_updated_at=at,
        deleted_at=gone_at,
    )
    new = reported.excluded
    newer = _is_older(memberships.c.clerk_updated_at, at)
    if gone_at is not None:
        newer = or_(newer, memberships.c.clerk_updated_at == at)
    await connection.execute(
        reported.on_conflict_do_update(
            index_elements=["tenant_id", "user_id"],
            set_={"role": new.role, "clerk_updated_at": new.clerk_updated_at, "deleted_at": new.deleted_at},
            where=newer,
        )
    )


def _is_older(kept: ColumnElement[datetime | None], at: datetime) -> ColumnElement[bool]:
    return or_(kept.is_(None), kept < at)


@dataclass(frozen=True, slots=True)
class User:
    """A person who has signed in, or whom the identity provider reported."""

    id: UUID
    profile: Profile
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Organization:
    """An organisation: the tenant that all other data belongs to."""

    id: UUID
    name: str
    time_zone: str
    default_currency: str


async def load_user(connection: AsyncConnection, sealer: Sealer, subject: str) -> User:
    """Read the person of a token's subject; person and membership are added where they are not known yet."""
    if found := await _users(connection, sealer, users.c.subject == subject):
        return found[0]
    row = await upsert_user(connection, subject)
    # Only the tenants of the transaction are visible: this is the caller's own.
    joined = insert(memberships).from_select(["tenant_id", "user_id"], select(tenants.c.id, literal(row)))
    await connection.execute(joined.on_conflict_do_nothing())
    [kept] = await _users(connection, sealer, users.c.id == row)
    return kept


async def users_by_id(
    connection: AsyncConnection, sealer: Sealer, ids: Collection[UUID], *, tenant: UUID | None, subject: str
) -> dict[UUID, User]:
    """Read people: the caller, and with `tenant` also its members; all others are left out."""
    may_see: ColumnElement[bool] = users.c.subject == subject
    if tenant is not None:
        membership = (memberships.c.tenant_id == tenant) & (memberships.c.user_id == users.c.id)
        may_see |= exists().where(membership, memberships.c.deleted_at.is_(None))
    return {one.id: one for one in await _users(connection, sealer, users.c.id.in_(ids), may_see)}


async def load_organization(connection: AsyncConnection, tenant: UUID) -> Organization | None:
    """Read a tenant."""
    row = (await connection.execute(select(tenants).where(tenants.c.id == tenant))).one_or_none()
    return None if row is None else Organization(row.id, row.name, row.time_zone, row.default_currency)


async def _users(connection: AsyncConnection, sealer: Sealer, *conditions: ColumnElement[bool]) -> list[User]:
    rows = await connection.execute(select(users.c.id, users.c.profile_sealed, users.c.created_at).where(*conditions))
    return [User(row.id, open_profile(sealer, row.id, row.profile_sealed), row.created_at) for row in rows]
