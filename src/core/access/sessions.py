"""Authenticating people by their sessions: the verified token, and what the database knows of person and organisation.

People and organisations that are not in the database yet are added.
"""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from cachetools import TTLCache
from sqlalchemy import ARRAY, Text, bindparam, text
from sqlalchemy.dialects.postgresql import insert

from core.access.directory import upsert_organization, upsert_user
from core.access.tables import memberships
from core.characters import refused_on_line
from core.database import Database
from core.errors import Unauthenticated
from core.group_commit import GroupLookup
from core.ports import Identity, IdentityVerifier, InvalidToken, OrganizationNamed, Tenancy, TokenFault
from core.ports.identity import DEFAULT_TENANT, ActorKind, PresentedSession, Principal, Scope
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


# Development tokens: signed with a key derived from ENCRYPTION_KEYS, and accepted outside production only.


_PREFIX = "iadev_"
LIFETIME = 30 * 24 * 3600
"""Seconds a token lasts, unless the setting DEVELOPMENT_TOKEN_DAYS says otherwise."""
_MAX_LENGTH = 4096
_LONGEST_SUBJECT = 200
_LEEWAY = 60
CLI = "interalpha"
"""The subject of tokens that commands make for their own calls."""


class DevelopmentTokens:
    """Makes and reads development tokens; `secret` is any encryption key of this installation.

    `lifetime` is how many seconds a token lasts; one that would last longer from now is refused.
    """

    def __init__(self, secret: bytes, *, lifetime: int = LIFETIME) -> None:
        self._key = hmac.digest(secret, b"interalpha development token", hashlib.sha256)
        self._lifetime = lifetime

    def make(self, *, tenant: UUID = DEFAULT_TENANT, subject: str = "dev", lifetime: int | None = None) -> str:
        """Make a token for a tenant that holds every scope and lasts `lifetime` seconds: 30 days."""
        now = int(time.time())
        ends = now + (self._lifetime if lifetime is None else lifetime)
        claims = {"tenant": str(tenant), "sub": subject, "iat": now, "exp": ends}
        body = _encode(json.dumps(claims, separators=(",", ":")).encode())
        return f"{_PREFIX}{body}.{self._sign(body)}"

    @staticmethod
    def recognises(token: str) -> bool:
        """Whether a token has the form of one of these, which no other token has."""
        return token.startswith(_PREFIX)

    def read(self, token: str) -> Principal:
        """The principal of a token; raises Unauthenticated."""
        body, _, signature = token.removeprefix(_PREFIX).partition(".")
        is_ours = token.startswith(_PREFIX) and token.isascii() and len(token) <= _MAX_LENGTH
        if not is_ours or not hmac.compare_digest(self._sign(body).encode(), signature.encode()):
            raise Unauthenticated(
                say("TOKEN_UNKNOWN", "This server did not issue this token. Create one with `interalpha token`.")
            )
        claims, now = _claims(body), time.time()
        tenant, subject, ends = UUID(claims["tenant"]), claims["sub"], claims["exp"]
        if ends < now:
            raise Unauthenticated(
                say("TOKEN_EXPIRED", "The bearer token has expired. Make a new one with `interalpha token`.")
            )
        if ends > now + self._lifetime + _LEEWAY or claims.get("iat", 0) > now + _LEEWAY:
            raise Unauthenticated(
                say(
                    "TOKEN_LASTS_TOO_LONG",
                    "The bearer token is valid for longer than DEVELOPMENT_TOKEN_DAYS allows. Make a new one with "
                    "`interalpha token`.",
                )
            )
        kind = ActorKind.CLI if subject == CLI else ActorKind.DEVELOPMENT
        return Principal(tenant, subject, frozenset(Scope), ends, kind=kind)

    def _sign(self, body: str) -> str:
        return _encode(hmac.digest(self._key, body.encode(), hashlib.sha256))


def _claims(body: str) -> dict[str, Any]:
    """Read a token's claims; raises Unauthenticated where one is missing or has a wrong form."""
    unreadable = Unauthenticated(say("TOKEN_UNREADABLE", "The bearer token cannot be read."))
    try:
        claims = json.loads(_decode(body))
        tenant, subject, ends, issued = claims["tenant"], claims["sub"], claims["exp"], claims.get("iat", 0)
        UUID(tenant)
        is_sound = 0 < len(subject.encode()) <= _LONGEST_SUBJECT and refused_on_line(subject) is None
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise unreadable from error
    if not is_sound or type(ends) is not int or type(issued) is not int or issued < 0:
        raise unreadable
    return dict(claims)


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
