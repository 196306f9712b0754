"""What providers report: the events of webhooks, and answers to look-ups of a message; and the ports for both.

A failure is also encoded here for its unencrypted column: our texts and codes, never a provider's text.
"""

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
    """The statuses a provider can report; the rank decides which one counts, never the order of arrival."""

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
    """One event of a webhook. `dedupe_key` is the same for an event sent twice; `raw` is its part of the payload."""

    dedupe_key: str
    event_type: str
    raw: str


@dataclass(frozen=True, slots=True)
class Price:
    """What a provider charges for a message; `model` and `category` are its own terms."""

    is_billable: bool
    model: str
    category: str


@dataclass(frozen=True, slots=True)
class StatusReport(ProviderEvent):
    """A report about a message, identified by our reference, by the provider's id, or by both."""

    status: ReportedStatus
    price: Price | None = None
    reference: Reference | None = None
    provider_message_id: str | None = None
    failure: Failure | None = None
    occurred_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class InboundMessage(ProviderEvent):
    """A message to us: `sender` is the person's address, `recipient` is ours and decides the tenant."""

    channel: Channel
    sender: str
    recipient: str
    text: str | None
    provider_message_id: str
    occurred_at: datetime | None = None
    kind: str = "text"
    """The provider's term for its kind: text, image, button, location, …"""
    in_reply_to: str | None = None
    """The provider's id of the message it answers."""


@dataclass(frozen=True, slots=True)
class OtherEvent(ProviderEvent):
    """An event that this version does not use; it is stored all the same."""

    reference: Reference | None = None


@dataclass(frozen=True, slots=True)
class TemplatesChanged(ProviderEvent):
    """The provider's catalogue of templates changed; the changes are read from the catalogue itself."""


class WebhookReader(Protocol):
    """Verifies and parses a provider's webhooks."""

    def verify(self, webhook: RawWebhook) -> None:
        """Raise InvalidSignature unless the raw bytes are signed by the provider."""
        ...

    def parse(self, webhook: RawWebhook) -> Sequence[ProviderEvent]:
        """Parse a verified webhook; never raises: an unknown event becomes an OtherEvent."""
        ...


class Handshake(Protocol):
    """Answers the request by which some providers verify a webhook's URL before they use it."""

    def answer(self, query: Mapping[str, str]) -> str:
        """The text that proves it; raises InvalidSignature where the request lacks our token."""
        ...


@dataclass(frozen=True, slots=True)
class LookupRequest:
    """An attempt to look up; `provider_message_id` is set where the provider's own id is known."""

    reference: Reference
    channel: Channel
    to: str
    content: Content
    started_at: datetime
    provider_message_id: str | None = None


@dataclass(frozen=True, slots=True)
class ProviderRecord:
    """A message as the provider lists it; `status` is None while it has no final or reported status there."""

    provider_message_id: str
    status: ReportedStatus | None
    failure: Failure | None = None
    created_at: datetime | None = None


class DeliveryLookup(Protocol):
    """Looks up at a provider what became of a message that was perhaps sent."""

    async def find(self, sought: LookupRequest) -> Sequence[ProviderRecord]:
        """Find messages that may be this attempt, the likeliest first; empty when the provider has none.

        Raises a ProviderError, also where the list could not be read completely: an empty answer would be wrong then.
        """
        ...

    async def count(self, day: date) -> int | None:
        """How many messages the provider counts as sent by us on a day in UTC; None where it gives no number.

        Raises a ProviderError.
        """
        ...


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
