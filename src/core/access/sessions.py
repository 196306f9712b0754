"""Authenticating people by their sessions: the verified token, and what the database knows of person and organisation.

People and organisations that are not in the database yet are added.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from cachetools import TTLCache
from sqlalchemy import ARRAY, Text, bindparam, text
from sqlalchemy.dialects.postgresql import insert

from core.access.directory import upsert_organization, upsert_user
from core.access.tables import memberships
from core.database import Database
from core.group_commit import GroupLookup
from core.ports import Identity, IdentityVerifier, InvalidToken, OrganizationNamed, Tenancy, TokenFault
from core.ports.principal import DEFAULT_TENANT, PresentedSession, Principal, Scope
from core.words import say

CACHE_SECONDS = 2.0
"""How long a looked-up membership is used: a person who was deleted may be accepted for so long."""
CACHE_SIZE = 10_000
# The tenant is not known yet: the function returns sessions in a transaction without tenants.
_PRESENTED = text("SELECT * FROM sessions_presented(:subjects, :organizations, :sessions)").bindparams(
    *(bindparam(name, type_=ARRAY(Text)) for name in ("subjects", "organizations", "sessions"))
)

_Key = tuple[str, str | None, str]
"""A person, what their tenant is found by, and their session."""


@dataclass(frozen=True, slots=True)
class MembershipState:
    """A person's membership of an organisation in the database; `role` is what the provider reported at `role_at`."""

    tenant_id: UUID
    is_gone: bool
    left_at: datetime | None
    role: str | None = None
    role_at: datetime | None = None


class Sessions:
    """Authenticates people who have signed in with the identity provider."""

    def __init__(
        self, database: Database, verifier: IdentityVerifier, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._database = database
        self._verifier = verifier
        self._known: TTLCache[_Key, MembershipState] = TTLCache(CACHE_SIZE, CACHE_SECONDS, clock)
        self._finder: GroupLookup[_Key, MembershipState] = GroupLookup(self._look_up)

    async def authenticate(self, token: str, *, needs_party: bool = False) -> Principal:
        """The principal of a token, for its tenant.

        Raises InvalidToken, and Overloaded where the provider's keys or the database cannot be read.
        """
        identity = await self._verifier.verify(token, needs_party=needs_party)
        role = identity.organization.role if identity.organization is not None else None
        session = PresentedSession(
            identity.subject, _organization_id(identity), identity.session_id, identity.issued_at, role
        )
        membership = await self._membership(session)
        if _is_refused(session, membership):
            raise InvalidToken(
                say(
                    "SESSION_GONE",
                    "This person or organisation was deleted, or the person has left the organisation.",
                ),
                reason=TokenFault.GONE,
            )
        return Principal(
            membership.tenant_id,
            identity.subject,
            self._scopes(identity.scopes, session, membership),
            identity.expires_at.timestamp(),
            identity.actor,
            session=session,
        )

    async def is_still_valid(self, principal: Principal) -> bool:
        """Whether the session of an earlier call is still valid, with the same scopes. Raises Overloaded."""
        session = principal.session
        if session is None:
            return True
        membership = await self._membership(session)
        scopes = frozenset(principal.scopes)
        return not _is_refused(session, membership) and self._scopes(scopes, session, membership) == scopes

    def _scopes(
        self, given: frozenset[Scope], session: PresentedSession, membership: MembershipState
    ) -> frozenset[Scope]:
        """The scopes of a token; only those of a newer role too, where one was reported since the token was issued."""
        if membership.role is None or membership.role_at is None or membership.role == session.role:
            return given
        is_older = session.issued_at <= membership.role_at
        return given & self._verifier.scopes_of_role(membership.role) if is_older else given

    async def _membership(self, session: PresentedSession) -> MembershipState:
        key = (session.subject, session.organization, session.session_id)
        if (known := self._known.get(key)) is not None:
            return known
        membership = await self._finder.find(key) or await self._add_missing(session)
        self._known[key] = membership
        return membership

    async def _add_missing(self, session: PresentedSession) -> MembershipState:
        """Add the rows that are missing; existing rows stay as they are.

        Each in a transaction of its own: a transaction that locks several rows could deadlock with a worker that
        applies events about the same rows in another order.
        """
        async with self._database.transaction() as connection:
            user = await upsert_user(connection, session.subject)
        tenant = DEFAULT_TENANT
        if session.organization is not None:
            async with self._database.transaction() as connection:
                tenant = await upsert_organization(connection, OrganizationNamed(session.organization))
        joined = insert(memberships).values(tenant_id=tenant, user_id=user, role=session.role)
        async with self._database.transaction(tenant) as connection:
            await connection.execute(joined.on_conflict_do_nothing())
        return MembershipState(tenant, is_gone=False, left_at=None)

    async def _look_up(self, keys: Sequence[_Key]) -> Mapping[_Key, MembershipState]:
        """Read memberships of any tenants; those of which a row is missing are left out."""
        subjects, organizations, sessions = (list(column) for column in zip(*keys, strict=True))
        asked = {"subjects": subjects, "organizations": organizations, "sessions": sessions}
        async with self._database.transaction() as connection:
            rows = (await connection.execute(_PRESENTED, asked)).all()
        # Nothing is added for a person who is gone, and the default tenant is not made where it is missing.
        return {
            keys[row.place - 1]: MembershipState(
                row.tenant_id or DEFAULT_TENANT,
                row.is_gone or (row.tenant_id is None and row.organization is None),
                row.left_at,
                row.role,
                row.role_at,
            )
            for row in rows
            if row.is_known
        }


def _is_refused(session: PresentedSession, membership: MembershipState) -> bool:
    # A person who left and came back has a newer token; the event about it may not have arrived.
    has_left = membership.left_at is not None and session.issued_at <= membership.left_at
    return membership.is_gone or has_left


def _organization_id(identity: Identity) -> str | None:
    """The id by which the tenant is found; None for the default tenant."""
    if identity.tenancy is Tenancy.DEFAULT:
        return None
    return identity.organization.id if identity.organization is not None else identity.subject
