"""Whom a caller's messages may reach: everybody, people named beforehand, or nobody outside this server."""

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
    """What credentials allow of recipients and companies.

    `simulated_only` keeps messages from every company that is not simulated here; `recipients` are the only addresses
    they may go to, None for any.
    """

    simulated_only: bool = False
    # Never printed: they are people's.
    recipients: frozenset[str] | None = field(default=None, repr=False)

    def allows(self, address: str) -> bool:
        """Whether a message may go to an address, in whichever of its forms."""
        return self.recipients is None or comparable_form(address) in self.recipients

    def covers(self, other: "Reach") -> bool:
        """Whether the other reaches nobody whom this one does not."""
        if self.simulated_only:
            return other.simulated_only
        if self.recipients is None or other.simulated_only:
            return True
        return other.recipients is not None and other.recipients <= self.recipients


UNRESTRICTED = Reach()


def comparable_form(address: str) -> str:
    """An address in the form allow lists compare: a Brazilian mobile with its ninth digit."""
    return f"+{full_form(address[1:])}" if address.startswith("+") else address


# Who is asking: a principal acts for one tenant and may do what its scopes say.


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
    """What somebody who acts is: the audit log tells them apart."""

    PERSON = "PERSON"
    KEY = "KEY"
    CLI = "CLI"
    DEVELOPMENT = "DEVELOPMENT"
    SYSTEM = "SYSTEM"


@dataclass(frozen=True, slots=True)
class PresentedSession:
    """What a person's session is looked up by, and looked at again by while a socket is open.

    `organization` is what its tenant is found by, None for the one business here; `role` is what the token says.
    """

    subject: str
    organization: str | None
    session_id: str
    issued_at: datetime
    role: str | None = None


@dataclass(frozen=True, slots=True)
class Principal:
    """A known caller; `subject` names it in logs, `expires_at` is when its token ends, in seconds since 1970.

    `actor` is whoever acts in the subject's name, where that is somebody else. `api_key` is the row of the key that
    asks, where no person does; its subject is `key:` and the key's name. `reach` is whom its messages may reach.
    `session` is the session of a person who has signed in.
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
        """Return itself when it holds the right; raises NotAllowed."""
        if scope not in self.scopes:
            raise NotAllowed(say("SCOPE_MISSING", "These credentials lack the scope {scope}.", scope=scope))
        return self
