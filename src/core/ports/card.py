"""An integration's card: its name and settings, how it is connected, and its capabilities and probe afterwards."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

from core.ports.calls import ProviderCalls, UncountedCalls
from core.ports.content import TemplateCatalogue
from core.ports.identity import IdentityVerifier
from core.ports.reports import DeliveryLookup, Handshake, ProviderEvent, WebhookReader
from core.ports.sending import Channel, MessageSender
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
    """Checks whether a provider accepts our credentials, without sending a message."""

    async def check(self) -> Sequence[Finding]: ...


class Mode(StrEnum):
    """Whether calls are real: LIVE, the provider's own test environment, or a simulator on this machine."""

    LIVE = "LIVE"
    SANDBOX = "SANDBOX"
    SIMULATED = "SIMULATED"


@dataclass(frozen=True, slots=True)
class IntegrationContext:
    """What an integration is handed by this installation: the URL for the provider's webhooks, and its caller."""

    webhook_url: str
    calls: ProviderCalls = field(default_factory=UncountedCalls)


@dataclass(frozen=True, slots=True)
class Pace:
    """The rate limit of a provider: `per_second` in all, up to `burst` at once.

    One recipient may be sent a message every `recipient_interval` seconds; up to `recipient_burst` messages may go
    within one interval, and the following ones wait accordingly longer.
    """

    per_second: float
    burst: int = 1
    recipient_interval: float | None = None
    recipient_burst: int = 1


async def _nothing_to_close() -> None:
    return None


@dataclass(frozen=True, slots=True)
class Connected:
    """A connected integration; a capability that it lacks is None.

    `own_addresses` are its sender addresses; `in_flight` is how many calls a worker may have in progress; `pace` is the
    rate limit of all workers together, None for no limit.
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
    """An integration's card: its name, its settings, and how it is connected.

    `name` is the folder, the path segment of its webhooks, and the name in logs and tables. `connect` is None while
    only the provider's settings exist and there is no adapter yet. `events` are the classes of the events that its
    webhooks become: a process does not start if no noun understands one of them.
    """

    name: str
    title: str
    docs: str
    settings: type[IntegrationSettings]
    channels: frozenset[Channel] = frozenset()
    events: frozenset[type[ProviderEvent]] = frozenset()
    connect: Callable[[Any, IntegrationContext], Connected] | None = None

    @property
    def has_webhooks(self) -> bool:
        """Whether the provider sends webhooks."""
        return bool(self.events)
