"""The caller: a principal acts for one tenant, has scopes, and its messages may reach all recipients or some."""

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from core.brazil import full_form
from core.errors import NotAllowed
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
