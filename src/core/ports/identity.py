"""The caller, the identity provider's verified sessions, and its events about people and organisations.

A principal acts for one tenant, has scopes, and its messages may reach all recipients or some."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Protocol
from uuid import UUID

from core.brazil import full_form
from core.errors import NotAllowed, Unauthenticated
from core.ports.reports import ProviderEvent
from core.words import say


@dataclass(frozen=True, slots=True)
class Reach:
    """Which providers and recipients the messages of credentials may reach.

    `simulated_only` allows simulated providers only; `recipients` are the only addresses, None for any.
    """

    simulated_only: bool = False
    # Never printed: they are personal data.
    recipients: frozenset[str] | None = field(default=None, repr=False)

    def allows(self, address: str) -> bool:
        """Whether a message may go to an address, in any of its forms."""
        return self.recipients is None or comparable_form(address) in self.recipients

    def covers(self, other: "Reach") -> bool:
        """Whether every recipient of the other is also one of this."""
        if self.simulated_only:
            return other.simulated_only
        if self.recipients is None or other.simulated_only:
            return True
        return other.recipients is not None and other.recipients <= self.recipients


UNRESTRICTED = Reach()


def comparable_form(address: str) -> str:
    """An address in the form that allow lists compare: a Brazilian mobile number with its ninth digit."""
    return f"+{full_form(address[1:])}" if address.startswith("+") else address


DEFAULT_TENANT = UUID("01900000-0000-7000-8000-000000000001")
"""The tenant every installation starts with; the migration seeds it."""


class Scope(StrEnum):
    """A right a caller may hold."""

    MESSAGES_READ = "MESSAGES_READ"
    MESSAGES_SEND = "MESSAGES_SEND"
    CONTACTS_READ = "CONTACTS_READ"
    OPERATIONS_READ = "OPERATIONS_READ"
    OPERATIONS_WRITE = "OPERATIONS_WRITE"


class ActorKind(StrEnum):
    """The kind of an actor in the audit log."""

    PERSON = "PERSON"
    KEY = "KEY"
    CLI = "CLI"
    DEVELOPMENT = "DEVELOPMENT"
    SYSTEM = "SYSTEM"


@dataclass(frozen=True, slots=True)
class PresentedSession:
    """The keys by which a person's session is looked up, and checked again while a socket is open.

    `organization` is the id by which its tenant is found, None for the default tenant; `role` is that of the token.
    """

    subject: str
    organization: str | None
    session_id: str
    issued_at: datetime
    role: str | None = None


@dataclass(frozen=True, slots=True)
class Principal:
    """An authenticated caller; `subject` names it in logs, `expires_at` is when its token ends, in seconds since 1970.

    `actor` is who acts in the subject's name, where that is another person. `api_key` is the row of the caller's key;
    the subject is then `key:` and the key's name. `reach` says which recipients its messages may reach. `session` is
    the session of a person who has signed in.
    """

    tenant_id: UUID
    subject: str
    scopes: Collection[Scope]
    expires_at: float | None = None
    actor: str | None = None
    api_key: UUID | None = None
    reach: Reach = UNRESTRICTED
    kind: ActorKind = ActorKind.PERSON
    session: PresentedSession | None = None

    def require(self, scope: Scope) -> "Principal":
        """Return itself when it has the scope; raises NotAllowed."""
        if scope not in self.scopes:
            raise NotAllowed(say("SCOPE_MISSING", "These credentials lack the scope {scope}.", scope=scope))
        return self


# The identity provider: verified sessions, and events about people and organisations.


# ─── Sessions ───────────────────────────────────────────────────────────────


class TokenFault(StrEnum):
    """Why a session's token is refused; for logs, metrics and tests, never for the caller."""

    TOO_LARGE = "too_large"
    MALFORMED = "malformed"
    ALGORITHM = "algorithm"
    HEADER = "header"
    """It contains a key of its own, or requires an extension that is not supported."""
    NOT_A_SESSION = "not_a_session"
    """Another kind of token of the same provider: a machine's, a template's, an application's."""
    UNKNOWN_KEY = "unknown_key"
    SIGNATURE = "signature"
    MISSING_CLAIM = "missing_claim"
    BAD_CLAIM = "bad_claim"
    VERSION = "version"
    ISSUER = "issuer"
    PARTY = "party"
    EXPIRED = "expired"
    NOT_YET = "not_yet"
    TOO_LONG = "too_long"
    """It is valid for longer than this server allows."""
    PENDING = "pending"
    """The sign-in is not complete."""
    NO_ORGANIZATION = "no_organization"
    GONE = "gone"
    """The person, the organisation or the membership was deleted, the person banned, or the session ended."""


class InvalidToken(Unauthenticated):
    """A session's token is refused; the message never contains it, `reason` is stable."""

    def __init__(self, message: str, *, reason: TokenFault) -> None:
        super().__init__(message)
        self.reason = reason


class Tenancy(StrEnum):
    """The tenant of a session: its organisation's, the person's own, or the default tenant."""

    ORGANIZATION = "ORGANIZATION"
    OWN = "OWN"
    DEFAULT = "DEFAULT"


@dataclass(frozen=True, slots=True)
class ActiveOrganization:
    """The organisation of a session; `permissions` are those that the token lists."""

    id: str
    slug: str | None
    role: str
    permissions: Collection[str] = ()


@dataclass(frozen=True, slots=True)
class Identity:
    """A person who has signed in, as a verified token says.

    `party` is the origin of the page that fetched the token, `actor` who acts in the person's name. `scopes` follow
    from role and permissions.
    """

    subject: str
    session_id: str
    issued_at: datetime
    expires_at: datetime
    tenancy: Tenancy
    scopes: frozenset[Scope]
    organization: ActiveOrganization | None = None
    party: str | None = None
    actor: str | None = None


class IdentityVerifier(Protocol):
    """Verifies the tokens of people who have signed in."""

    @property
    def cookies(self) -> Sequence[str]:
        """The names of the cookies that may hold a token, the preferred one first."""
        ...

    async def verify(self, token: str, *, needs_party: bool = False) -> Identity:
        """Verify a token and return its identity; with `needs_party` a token without a party is refused.

        Raises InvalidToken, and Overloaded where the provider's keys cannot be fetched.
        """
        ...

    def scopes_of_role(self, role: str) -> frozenset[Scope]:
        """The scopes of a role in an organisation, without the permissions that a token may list."""
        ...


# ─── Events ─────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Person:
    """A person; what is not known is None."""

    id: str
    name: str | None = None
    email: str | None = None
    avatar_url: str | None = None
    is_banned: bool = False


@dataclass(frozen=True, slots=True)
class OrganizationNamed:
    """An organisation; without a name in an event about its deletion."""

    id: str
    name: str | None = None


@dataclass(frozen=True, slots=True)
class Membership:
    """A person belongs to an organisation."""

    user_id: str
    organization_id: str
    role: str | None = None


@dataclass(frozen=True, slots=True)
class SessionEnded:
    """A session ended before its tokens expire: signed out, removed or revoked. That is final."""

    session_id: str


@dataclass(frozen=True, slots=True)
class DirectoryChanged(ProviderEvent):
    """A person, organisation, membership or session changed; `at` is when, by the provider's clock."""

    subject: Person | OrganizationNamed | Membership | SessionEnded
    at: datetime
    is_deleted: bool = False
