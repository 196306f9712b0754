"""What companies tell us of their own accord, and who believes and reads it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from typing import Any, Protocol

from core.errors import FailureParty, FailureReason, ProviderError
from core.ports.sending import Channel, Content, Reference


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


# Asking a company afterwards what became of a message.


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


# Encoding of failures for their unencrypted column: our texts and codes, never a provider's text.


_REASONS = {one.value: one for one in FailureReason}
_PARTIES = {one.value: one for one in FailureParty}


def failure_of(error: ProviderError) -> Failure:
    """Make the failure of a message from a provider's error."""
    return Failure(error.reason, error.party, error.message, error.provider_code, error.retryable)


def failure_to_json(failure: Failure | None) -> dict[str, Any] | None:
    """Encode a failure."""
    if failure is None:
        return None
    return {
        "reason": failure.reason.value,
        "party": failure.party.value,
        "message": failure.message,
        "providerCode": failure.provider_code,
        "isTransient": failure.is_transient,
    }


def failure_from_json(data: Mapping[str, Any] | None) -> Failure | None:
    """Read what `failure_to_json` wrote; a reason that only a later version knows is another one.

    During a rolling deploy the row must break neither the page it is on nor what is decided about its message.
    """
    if data is None:
        return None
    return Failure(
        _REASONS.get(data["reason"], FailureReason.OTHER),
        _PARTIES.get(data["party"], FailureParty.PROVIDER),
        data["message"],
        data["providerCode"],
        data["isTransient"],
    )
