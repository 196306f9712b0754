"""What we need from the outside, in our words: capabilities, the values they exchange, and an integration's card."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from enum import StrEnum
from typing import Any, Protocol
from uuid import UUID

from core.errors import FailureParty, FailureReason
from core.findings import Finding as Finding
from core.findings import Probe as Probe
from core.findings import Severity as Severity
from core.settings import IntegrationSettings


class Channel(StrEnum):
    """A way to reach a person."""

    WHATSAPP = "WHATSAPP"
    SMS = "SMS"
    EMAIL = "EMAIL"


class Mode(StrEnum):
    """Whether calls are real: LIVE, the company's own test environment, or a simulator on this machine."""

    LIVE = "LIVE"
    SANDBOX = "SANDBOX"
    SIMULATED = "SIMULATED"


# ─── Sending ────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class TextContent:
    """Plain words."""

    text: str


@dataclass(frozen=True, slots=True)
class EmailContent:
    """An e-mail: a subject and at least one of two bodies."""

    subject: str
    plain_text: str | None = None
    html: str | None = None


@dataclass(frozen=True, slots=True)
class ButtonParameter:
    """What fills the gap of one template button: `index` counts from 0, `kind` is the company's word for it."""

    index: int
    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class TemplateContent:
    """A template agreed beforehand, its gaps filled.

    `header` and `body` hold (name, text) in the template's order, the name None where gaps are numbered. `rendered` is
    what the reader sees.
    """

    name: str
    locale: str
    header: Sequence[tuple[str | None, str]] = ()
    body: Sequence[tuple[str | None, str]] = ()
    buttons: Sequence[ButtonParameter] = ()
    rendered: str = ""


Content = TextContent | EmailContent | TemplateContent


@dataclass(frozen=True, slots=True)
class Reference:
    """Our name for one attempt; goes out with it and comes back in every report about it."""

    tenant_id: UUID
    message_id: UUID
    attempt: int

    def __str__(self) -> str:
        return f"{self.tenant_id.hex}.{self.message_id.hex}.{self.attempt}"

    @classmethod
    def parse(cls, text: str | None) -> "Reference | None":
        """Read what `str()` wrote; None for anything else."""
        try:
            tenant, message, attempt = (text or "").split(".")
            return cls(UUID(hex=tenant), UUID(hex=message), int(attempt))
        except ValueError:
            return None


@dataclass(frozen=True, slots=True)
class OutboundMessage:
    """One attempt to say something to one address over one channel.

    `to` is a number in E.164 form, a mailbox, or a company's own id for a person who shows no number.
    `in_reply_to` is the company's id of the message this one answers.
    """

    reference: Reference
    channel: Channel
    to: str
    content: Content
    in_reply_to: str | None = None


@dataclass(frozen=True, slots=True)
class Receipt:
    """The company took it; `provider_message_id` is its name for the message, `detail` its own words.

    `recipient_id` is the company's own id of the recipient where it differs from the address we gave. `answer` is what
    it said, as far as it may be kept in plain: codes and ids, never words or addresses.
    """

    provider_message_id: str | None
    detail: str | None = None
    recipient_id: str | None = None
    answer: str | None = None


class MessageSender(Protocol):
    """Says a message to a company."""

    async def send(self, message: OutboundMessage) -> Receipt:
        """Hand the message over.

        Raises a ProviderError: Unavailable (surely not done), Rejected, Misconfigured or OutcomeUnknown.
        """
        ...


# ─── Webhooks ───────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class RawWebhook:
    """A request as it came: `url` is the public address it was sent to (with query), header names are lower-case."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes


class ReportedStatus(StrEnum):
    """What a company can report about a message it took; the rank decides, never the order of arrival."""

    SENT = "SENT"
    FAILED = "FAILED"
    DELIVERED = "DELIVERED"
    READ = "READ"

    @property
    def rank(self) -> int:
        return {"SENT": 1, "FAILED": 2, "DELIVERED": 3, "READ": 4}[self.value]


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a message did not arrive."""

    reason: FailureReason
    party: FailureParty
    message: str
    provider_code: str | None = None
    is_transient: bool = False


@dataclass(frozen=True, slots=True)
class ProviderEvent:
    """One thing a company told us. `dedupe_key` is the same for the same thing told twice; `raw` is its own piece."""

    dedupe_key: str
    event_type: str
    raw: str


@dataclass(frozen=True, slots=True)
class Price:
    """What a company says about charging for a message; the words are its own."""

    is_billable: bool
    model: str
    category: str


@dataclass(frozen=True, slots=True)
class StatusReport(ProviderEvent):
    """A company says what became of a message, named by our reference, by its own id, or by both."""

    status: ReportedStatus
    price: Price | None = None
    reference: Reference | None = None
    provider_message_id: str | None = None
    failure: Failure | None = None
    occurred_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class InboundMessage(ProviderEvent):
    """Somebody wrote to us: `sender` is their address, `recipient` is ours and decides the tenant."""

    channel: Channel
    sender: str
    recipient: str
    text: str | None
    provider_message_id: str
    occurred_at: datetime | None = None
    kind: str = "text"
    """The company's word for what it is: text, image, button, location, …"""
    in_reply_to: str | None = None
    """The company's id of the message it answers."""


@dataclass(frozen=True, slots=True)
class OtherEvent(ProviderEvent):
    """Something this version does not act on; kept all the same."""

    reference: Reference | None = None


@dataclass(frozen=True, slots=True)
class TemplatesChanged(ProviderEvent):
    """The company's catalogue of templates is no longer what it was; what changed is read from the catalogue itself."""


class TemplateCategory(StrEnum):
    """What a template is for; companies and laws treat the three differently."""

    TRANSACTIONAL = "TRANSACTIONAL"
    MARKETING = "MARKETING"
    AUTHENTICATION = "AUTHENTICATION"


class TemplateApproval(StrEnum):
    """Whether the channel's company has let a template through."""

    NOT_NEEDED = "NOT_NEEDED"
    PENDING = "PENDING"
    APPROVED = "APPROVED"
    REJECTED = "REJECTED"


@dataclass(frozen=True, slots=True)
class TemplateButton:
    """A button with a gap in it."""

    index: int
    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class ProviderTemplate:
    """A template as a company keeps it: texts with gaps, written {{1}} or {{name}}; `examples` by the gap's name."""

    provider_id: str
    name: str
    locale: str
    category: TemplateCategory
    approval: TemplateApproval
    body: str
    header: str | None = None
    buttons: Sequence[TemplateButton] = ()
    examples: Mapping[str, str] = field(default_factory=dict)


class TemplateCatalogue(Protocol):
    """Knows the templates a company keeps for us."""

    async def list(self) -> Sequence[ProviderTemplate]:
        """Read all of them, page by page; raises a ProviderError."""
        ...


class WebhookReader(Protocol):
    """Believes and reads what a company sends us."""

    def verify(self, webhook: RawWebhook) -> None:
        """Raise InvalidSignature unless the raw bytes are signed by the company."""
        ...

    def parse(self, webhook: RawWebhook) -> Sequence[ProviderEvent]:
        """Read a verified webhook; never raises: what it does not know becomes an OtherEvent."""
        ...


class Handshake(Protocol):
    """Some companies ask, before they send anything, whether an address is meant to hear them."""

    def answer(self, query: Mapping[str, str]) -> str:
        """Give the text that proves it; raises InvalidSignature for whoever does not know our token."""
        ...


# ─── Looking up ─────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Sought:
    """An attempt whose fate is to be asked for; `provider_message_id` where the company's own id is known."""

    reference: Reference
    channel: Channel
    to: str
    content: Content
    started_at: datetime
    provider_message_id: str | None = None


@dataclass(frozen=True, slots=True)
class Sighting:
    """A message as the company's own books show it; `status` is None while the company has not decided."""

    provider_message_id: str
    status: ReportedStatus | None
    failure: Failure | None = None
    created_at: datetime | None = None


class DeliveryLookup(Protocol):
    """Asks a company what became of what we may have sent."""

    async def find(self, sought: Sought) -> Sequence[Sighting]:
        """Look for what may be this attempt, the likeliest first; empty when the company knows nothing like it.

        Raises a ProviderError, also where the books could not be read to their end: silence would say too much.
        """
        ...

    async def count(self, day: date) -> int | None:
        """How many messages the company counts as sent by us on a day in UTC; None where it does not say.

        Raises a ProviderError.
        """
        ...


# ─── The card ───────────────────────────────────────────────────────────────


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
