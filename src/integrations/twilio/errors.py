"""Twilio's error codes in our words. https://www.twilio.com/docs/api/errors"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from core.errors import (
    FailureParty,
    FailureReason,
    OutcomeUnknown,
    ProviderError,
    ProviderMisconfigured,
    ProviderRejected,
    ProviderUnavailable,
)
from core.ports import Failure

PROVIDER = "twilio"


class Kind(StrEnum):
    """What an answer means for another try."""

    REJECTED = "rejected"
    UNAVAILABLE = "unavailable"
    UNKNOWN = "unknown"
    MISCONFIGURED = "misconfigured"


@dataclass(frozen=True, slots=True)
class Meaning:
    """A code in our words."""

    kind: Kind
    reason: FailureReason
    party: FailureParty
    message: str


def _recipient(reason: FailureReason, message: str) -> Meaning:
    return Meaning(Kind.REJECTED, reason, FailureParty.RECIPIENT, message)


def _caller(reason: FailureReason, message: str) -> Meaning:
    return Meaning(Kind.REJECTED, reason, FailureParty.CALLER, message)


def _operator(message: str) -> Meaning:
    return Meaning(Kind.MISCONFIGURED, FailureReason.PROVIDER_ERROR, FailureParty.OPERATOR, message)


def _later(reason: FailureReason, message: str) -> Meaning:
    return Meaning(Kind.UNAVAILABLE, reason, FailureParty.PROVIDER, message)


MEANINGS: Mapping[str, Meaning] = {
    "20003": _operator("Twilio refuses our credentials, or the account is suspended."),
    "20404": _operator("Twilio knows no such account or resource."),
    "20429": _later(FailureReason.RATE_LIMITED, "Twilio asks us to slow down."),
    "20500": Meaning(Kind.UNKNOWN, FailureReason.PROVIDER_ERROR, FailureParty.PROVIDER, "Twilio broke down."),
    "20503": Meaning(Kind.UNKNOWN, FailureReason.PROVIDER_ERROR, FailureParty.PROVIDER, "Twilio is unavailable."),
    "21211": _recipient(FailureReason.INVALID_RECIPIENT, "Twilio says that this is no telephone number."),
    "21212": _operator("The sender's number is not valid: see TWILIO_PHONE_NUMBER."),
    "21408": _operator("Sending to this country is not enabled in Twilio's geo permissions."),
    "21602": _caller(FailureReason.CONTENT_REJECTED, "The message has no text."),
    "21603": _operator("No sender was given: set TWILIO_PHONE_NUMBER or TWILIO_MESSAGING_SERVICE_SID."),
    "21604": _caller(FailureReason.INVALID_RECIPIENT, "No recipient was given."),
    "21606": _operator("The sender's number is not this account's, or cannot send SMS."),
    "21608": _operator("A trial account sends only to numbers verified in Twilio's console."),
    "21609": _operator("Twilio does not accept our StatusCallback address: see PUBLIC_BASE_URL."),
    "21610": _recipient(FailureReason.CONSENT_WITHDRAWN, "The recipient has answered STOP to this sender."),
    "21611": _later(FailureReason.RATE_LIMITED, "The sender's queue at Twilio is full."),
    "21612": _recipient(FailureReason.UNREACHABLE, "Twilio has no route from our sender to this number."),
    "21614": _recipient(FailureReason.INVALID_RECIPIENT, "This number cannot receive SMS: it is not a mobile's."),
    "21617": _caller(FailureReason.CONTENT_REJECTED, "The text is longer than 1,600 characters."),
    "21701": _operator("The messaging service does not exist: see TWILIO_MESSAGING_SERVICE_SID."),
    "21730": _later(FailureReason.PROVIDER_ERROR, "Twilio is under maintenance."),
    "30001": _later(FailureReason.RATE_LIMITED, "The queue at Twilio overflowed."),
    "30002": _operator("The account is suspended."),
    "30003": _recipient(FailureReason.UNREACHABLE, "The phone is switched off or out of range."),
    "30004": _recipient(FailureReason.BLOCKED, "The recipient or the carrier blocks our messages."),
    "30005": _recipient(FailureReason.INVALID_RECIPIENT, "No phone has this number any more."),
    "30006": _recipient(FailureReason.INVALID_RECIPIENT, "This is a landline, or its carrier cannot be reached."),
    "30007": _caller(FailureReason.CONTENT_REJECTED, "The carrier filtered the message as spam."),
    "30008": Meaning(Kind.REJECTED, FailureReason.OTHER, FailureParty.PROVIDER, "The carrier gave no reason."),
    "30010": _operator("The message would have cost more than the price limit."),
    "30034": _operator("The sender is not registered for A2P traffic."),
}


def meaning_of(code: str) -> Meaning:
    """Look a code up; one that is not in the table is a refusal with its number."""
    return MEANINGS.get(
        code,
        Meaning(Kind.REJECTED, FailureReason.OTHER, FailureParty.PROVIDER, f"Twilio refuses with the code {code}."),
    )


def failure_of(code: str) -> Failure:
    """What a callback's ErrorCode means for its message."""
    meaning = meaning_of(code)
    is_transient = meaning.kind is Kind.UNAVAILABLE or code == "30003"
    return Failure(meaning.reason, meaning.party, meaning.message, code, is_transient)


def error_of(code: str, *, retry_after: float | None = None) -> ProviderError:
    """The error to raise for a code in an answer."""
    meaning = meaning_of(code)
    if meaning.kind is Kind.UNAVAILABLE:
        return ProviderUnavailable(
            meaning.message,
            provider=PROVIDER,
            provider_code=code,
            reason=meaning.reason,
            party=meaning.party,
            retry_after=retry_after,
        )
    error = {
        Kind.REJECTED: ProviderRejected,
        Kind.UNKNOWN: OutcomeUnknown,
        Kind.MISCONFIGURED: ProviderMisconfigured,
    }[meaning.kind]
    return error(meaning.message, provider=PROVIDER, provider_code=code, reason=meaning.reason, party=meaning.party)
