"""Applying what we are told of people and organisations, in whatever order it comes: newest wins, gone stays gone.

Each statement leaves the same row behind for the same set of news, whichever came first and however often.
"""

from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import ColumnElement, case, func, literal, or_, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from core.access.profile import Profile, seal_profile
from core.access.tables import ended_sessions, memberships, users
from core.identifiers import uuid7
from core.ports import DirectoryChanged, Membership, OrganizationNamed, Person, SessionEnded
from core.sealing import Sealer

ENDED_SESSIONS_KEPT = timedelta(days=31)
"""Longer than the longest life that CLERK_TOKEN_LIFETIME may give a token, which is a day."""


async def apply_news(connection: AsyncConnection, sealer: Sealer, event: DirectoryChanged) -> None:
    """Bring a person, an organisation or a membership to where an event says it is."""
    gone_at = event.at if event.is_deleted else None
    match event.subject:
        case Person() as person:
            await _keep_person(connection, sealer, person, event.at, gone_at)
        case OrganizationNamed() as organization:
            at = None if event.is_deleted else event.at
            await keep_organization(connection, organization, at=at, gone_at=gone_at)
        case Membership() as membership:
            await _keep_membership(connection, membership, event.at, gone_at)
        case SessionEnded() as ended:
            kept = insert(ended_sessions).values(session_id=ended.session_id, ended_at=event.at)
            await connection.execute(kept.on_conflict_do_nothing())


async def forget_ended_sessions(connection: AsyncConnection) -> None:
    """Delete the ends of sessions that no token which may still be believed is of."""
    oldest = func.now() - ENDED_SESSIONS_KEPT
    await connection.execute(ended_sessions.delete().where(ended_sessions.c.ended_at < oldest))


async def keep_organization(
    connection: AsyncConnection,
    organization: OrganizationNamed,
    *,
    at: datetime | None = None,
    gone_at: datetime | None = None,
) -> UUID:
    """Give the tenant of an organisation, made when there is none; a newer name replaces an older one."""
    kept = await connection.execute(
        select(func.keep_organization(uuid7(), organization.id, organization.name, at, gone_at))
    )
    return UUID(str(kept.scalar_one()))


async def keep_subject(connection: AsyncConnection, subject: str) -> UUID:
    """Give the row of a person of whom nothing but what tokens call them is known."""
    kept = await connection.execute(select(func.keep_person(uuid7(), subject)))
    return UUID(str(kept.scalar_one()))


async def _keep_person(
    connection: AsyncConnection, sealer: Sealer, person: Person, at: datetime, gone_at: datetime | None
) -> None:
    # A sealed value names its row, so the row comes first.
    row = await keep_subject(connection, person.id)
    profile = Profile(person.name, person.email, person.avatar_url)
    is_gone = or_(users.c.deleted_at.is_not(None), literal(gone_at is not None))
    changed = (
        users.update()
        .where(users.c.id == row)
        .values(
            profile_sealed=case(
                # What is gone leaves nothing personal behind, and news that come late bring nothing back.
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


async def _keep_membership(
    connection: AsyncConnection, membership: Membership, at: datetime, gone_at: datetime | None
) -> None:
    # It may come before either side of it.
    user = await keep_subject(connection, membership.user_id)
    tenant = await keep_organization(connection, OrganizationNamed(membership.organization_id))
    told = insert(memberships).values(
        tenant_id=tenant,
        user_id=user,
        role=None if gone_at else membership.role,
        clerk_updated_at=at,
        deleted_at=gone_at,
    )
    new = told.excluded
    newer = _is_older(memberships.c.clerk_updated_at, at)
    if gone_at is not None:
        newer = or_(newer, memberships.c.clerk_updated_at == at)
    await connection.execute(
        told.on_conflict_do_update(
            index_elements=["tenant_id", "user_id"],
            set_={"role": new.role, "clerk_updated_at": new.clerk_updated_at, "deleted_at": new.deleted_at},
            where=newer,
        )
    )


def _is_older(kept: ColumnElement[datetime | None], at: datetime) -> ColumnElement[bool]:
    return or_(kept.is_(None), kept < at)
