"""Twilio's error codes in our words. https://www.twilio.com/docs/api/errors"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from core.errors import (
    FailureParty,
    FailureReason,
    FailureScope,
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
    "21266": _recipient(FailureReason.INVALID_RECIPIENT, "The recipient is the sender's own number."),
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
    "30010": Meaning(
        Kind.REJECTED, FailureReason.OTHER, FailureParty.OPERATOR, "The message would have cost more than the limit."
    ),
    "30034": _operator("The sender is not registered for A2P traffic."),
    "30036": Meaning(
        Kind.REJECTED,
        FailureReason.EXPIRED,
        FailureParty.PROVIDER,
        "It waited in Twilio's queue for longer than it was valid.",
    ),
}


# What an answer means by its status, where its code is not in the table. A 429 was surely not processed.
_BY_STATUS: Mapping[int, Meaning] = {
    401: MEANINGS["20003"],
    403: _operator("Twilio does not permit this to our credentials."),
    404: MEANINGS["20404"],
    407: _operator("A proxy stands before Twilio and refuses us."),
    408: MEANINGS["20500"],
    429: MEANINGS["20429"],
}
_ELSEWHERE = _operator("Twilio's address leads elsewhere: see TWILIO_API_BASE.")
# What any message would have met; it opens the circuit at once.
_MET_BY_ALL = frozenset({"20003", "20404", "21212", "21603", "21606", "21609", "21701", "401", "403", "404", "407"})
# What only some recipients meet (their country, a number not verified): it never opens the circuit.
_MET_BY_SOME = frozenset({"21408", "21608", "30034"})
_FATES_WORTH_ANOTHER_TRY = frozenset({"30003", "30008"})


def failure_of(code: str) -> Failure:
    """What a callback's ErrorCode means for its message; an empty one is no reason given."""
    if not code:
        return Failure(FailureReason.OTHER, FailureParty.PROVIDER, "Twilio gave no reason.")
    meaning = MEANINGS.get(code) or _unknown(code)
    is_transient = meaning.kind is Kind.UNAVAILABLE or code in _FATES_WORTH_ANOTHER_TRY
    return Failure(meaning.reason, meaning.party, meaning.message, code, is_transient)


def error_of(
    status: int, code: str | None = None, *, retry_after: float | None = None, answer: str | None = None
) -> ProviderError:
    """The error to raise for an answer of this status, and this code in its body; `answer` is what of it is kept."""
    meaning = _meaning(status, code)
    if meaning.kind is Kind.UNAVAILABLE:
        return ProviderUnavailable(
            meaning.message,
            provider=PROVIDER,
            provider_code=code or str(status),
            reason=meaning.reason,
            party=meaning.party,
            answer=answer,
            scope=_scope(code if code in MEANINGS else str(status)),
            retry_after=retry_after,
        )
    error = {
        Kind.REJECTED: ProviderRejected,
        Kind.UNKNOWN: OutcomeUnknown,
        Kind.MISCONFIGURED: ProviderMisconfigured,
    }[meaning.kind]
    return error(
        meaning.message,
        provider=PROVIDER,
        provider_code=code or str(status),
        reason=meaning.reason,
        party=meaning.party,
        answer=answer,
        scope=_scope(code if code in MEANINGS else str(status)),
    )


def _scope(code: str | None) -> FailureScope | None:
    if code in _MET_BY_ALL:
        return FailureScope.PROVIDER
    return FailureScope.MESSAGE if code in _MET_BY_SOME else None


def _meaning(status: int, code: str | None) -> Meaning:
    if known := MEANINGS.get(code or ""):
        return known
    if status >= 500:
        return MEANINGS["20500"]
    if 300 <= status < 400:
        return _ELSEWHERE
    return _BY_STATUS.get(status) or _unknown(code or str(status))


def _unknown(code: str) -> Meaning:
    return Meaning(Kind.REJECTED, FailureReason.OTHER, FailureParty.PROVIDER, f"Twilio refuses with the code {code}.")
