"""What a probe finds out about a company."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

from core.ports.identity import IdentityVerifier
from core.ports.reports import DeliveryLookup, Handshake, WebhookReader
from core.ports.sending import Channel, MessageSender
from core.ports.templates import TemplateCatalogue
from core.settings import IntegrationSettings


class Severity(StrEnum):
    """How bad a finding is."""

    INFO = "INFO"
    WARNING = "WARNING"
    CRITICAL = "CRITICAL"


@dataclass(frozen=True, slots=True)
class Finding:
    """Something a probe found; `fix` says what to do."""

    code: str
    severity: Severity
    detail: str
    fix: str


class Probe(Protocol):
    """Asks a company whether it lets us in, without sending anything to anybody."""

    async def check(self) -> Sequence[Finding]: ...


# An integration's card: who it is, what it must be told, and what it can do once it is at work.


class Mode(StrEnum):
    """Whether calls are real: LIVE, the company's own test environment, or a simulator on this machine."""

    LIVE = "LIVE"
    SANDBOX = "SANDBOX"
    SIMULATED = "SIMULATED"


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What an integration is told about the house: where the company should send its webhooks."""

    webhook_url: str


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast a company lets us send: `per_second` in all, up to `burst` at once.

    To one person a message every `recipient_interval` seconds; up to `recipient_burst` of them within one interval, and
    what they took in advance is waited for afterwards.
    """

    per_second: float
    burst: int = 1
    recipient_interval: float | None = None
    recipient_burst: int = 1


async def _nothing_to_close() -> None:
    return None


@dataclass(frozen=True, slots=True)
class Connected:
    """An integration at work; a capability it lacks is None.

    `own_addresses` are the senders it answers for; `in_flight` is how many calls a worker should have under way;
    `pace` is how fast all workers together may send, None as fast as they can.
    """

    mode: Mode
    sender: MessageSender | None = None
    webhooks: WebhookReader | None = None
    handshake: Handshake | None = None
    templates: TemplateCatalogue | None = None
    lookup: DeliveryLookup | None = None
    identities: IdentityVerifier | None = None
    probe: Probe | None = None
    own_addresses: Sequence[str] = ()
    in_flight: int = 50
    pace: Pace | None = None
    close: Callable[[], Awaitable[None]] = field(default=_nothing_to_close)


@dataclass(frozen=True, slots=True)
class Integration:
    """An integration's card: who it is, what it must be told, and how to put it to work.

    `name` is the folder, the webhook's path segment and what logs and tables call it. `connect` is None while only
    the settings of a company are known and nothing here speaks to it yet.
    """

    name: str
    title: str
    docs: str
    settings: type[IntegrationSettings]
    channels: frozenset[Channel] = frozenset()
    has_webhooks: bool = False
    connect: Callable[[Any, Surroundings], Connected] | None = None
