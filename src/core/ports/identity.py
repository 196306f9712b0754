"""Who is asking, as a company says that knows people: sessions to believe, and news of people and organisations."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from core.errors import Unauthenticated
from core.ports.principal import Scope
from core.ports.reports import ProviderEvent

# ─── Sessions ───────────────────────────────────────────────────────────────


class TokenFault(StrEnum):
    """Why a session's token is not believed; for logs, metrics and tests, never for whoever sent it."""

    TOO_LARGE = "too_large"
    MALFORMED = "malformed"
    ALGORITHM = "algorithm"
    HEADER = "header"
    """It brings a key of its own, or asks for what nobody here understands."""
    NOT_A_SESSION = "not_a_session"
    """Another kind of token of the same company: a machine's, a template's, an application's."""
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
    """It would last longer than a token of this server may."""
    PENDING = "pending"
    """Somebody is half-way through signing in."""
    NO_ORGANIZATION = "no_organization"
    GONE = "gone"
    """The person, the organisation or the membership was deleted, the person banned, or the session ended."""


class InvalidToken(Unauthenticated):
    """A session's token is not believed; the message never holds it, `reason` is stable."""

    def __init__(self, message: str, *, reason: TokenFault) -> None:
        super().__init__(message)
        self.reason = reason


class Tenancy(StrEnum):
    """Whose data a session is about: its organisation's, the person's own, or the one business here."""

    ORGANIZATION = "ORGANIZATION"
    OWN = "OWN"
    DEFAULT = "DEFAULT"


@dataclass(frozen=True, slots=True)
class ActiveOrganization:
    """The organisation a session is about; `permissions` are those the company itself spells out."""

    id: str
    slug: str | None
    role: str
    permissions: Collection[str] = ()


@dataclass(frozen=True, slots=True)
class Identity:
    """A person who has signed in, as a verified token says.

    `party` is the origin of the page that fetched the token, `actor` whoever acts in the person's name. `scopes` is
    what role and permissions come to here.
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
    """Believes the tokens of people who have signed in."""

    @property
    def cookies(self) -> Sequence[str]:
        """The names of the cookies that hold a token, the one to be preferred first."""
        ...

    async def verify(self, token: str, *, needs_party: bool = False) -> Identity:
        """Say whose session a token is; with `needs_party` one that names no page is refused.

        Raises InvalidToken, and Overloaded where the company's keys cannot be had at the moment.
        """
        ...

    def scopes_of_role(self, role: str) -> frozenset[Scope]:
        """What a role in an organisation comes to here, without the permissions a token may spell out."""
        ...


# ─── News ───────────────────────────────────────────────────────────────────


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
    """An organisation; without a name when all that is told is that it is gone."""

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
    """A session ended before its tokens do: signed out, removed or revoked. It never begins again."""

    session_id: str


@dataclass(frozen=True, slots=True)
class DirectoryChanged(ProviderEvent):
    """Somebody or something is new, different or gone; `at` is the moment of that state, by the company's clock."""

    subject: Person | OrganizationNamed | Membership | SessionEnded
    at: datetime
    is_deleted: bool = False
