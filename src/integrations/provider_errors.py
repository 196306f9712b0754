"""What a provider's error codes mean in our words, and the errors they stand for: what all tables of codes share."""

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


class Kind(StrEnum):
    """What an answer means for another try."""

    REJECTED = "rejected"
    UNAVAILABLE = "unavailable"
    UNKNOWN = "unknown"
    MISCONFIGURED = "misconfigured"


@dataclass(frozen=True, slots=True)
class Meaning:
    """A code in our words.

    `is_passing` if another try may pass of itself after a report that the message failed; `pause` is how many seconds
    to wait at least before another try.
    """

    kind: Kind
    reason: FailureReason
    party: FailureParty
    message: str
    scope: FailureScope | None = None
    is_passing: bool = False
    pause: float | None = None


def recipient(reason: FailureReason, message: str) -> Meaning:
    """The recipient cannot or does not want to receive it: never again."""
    return Meaning(Kind.REJECTED, reason, FailureParty.RECIPIENT, message, FailureScope.MESSAGE)


def caller(reason: FailureReason, message: str) -> Meaning:
    """The message is wrong: never again as it is."""
    return Meaning(Kind.REJECTED, reason, FailureParty.CALLER, message, FailureScope.MESSAGE)


def misconfigured(
    message: str,
    scope: FailureScope = FailureScope.PROVIDER,
    reason: FailureReason = FailureReason.PROVIDER_ERROR,
) -> Meaning:
    """The operator must act, and the message can wait for that; `scope` says whether any message would have met it."""
    return Meaning(Kind.MISCONFIGURED, reason, FailureParty.OPERATOR, message, scope)


def unavailable(
    reason: FailureReason, message: str, *, scope: FailureScope | None = None, pause: float | None = None
) -> Meaning:
    """It passes: surely not done."""
    return Meaning(Kind.UNAVAILABLE, reason, FailureParty.PROVIDER, message, scope, is_passing=True, pause=pause)


def outcome_unknown(message: str) -> Meaning:
    """As an answer it leaves open whether the message was taken; as a report it says that it was not."""
    return Meaning(Kind.UNKNOWN, FailureReason.PROVIDER_ERROR, FailureParty.PROVIDER, message, is_passing=True)


def rejected(party: FailureParty, message: str, reason: FailureReason = FailureReason.OTHER) -> Meaning:
    """This message is refused, and would be again, until somebody has acted."""
    return Meaning(Kind.REJECTED, reason, party, message, FailureScope.MESSAGE)


def reported_failure(meaning: Meaning, code: str | None) -> Failure:
    """What a reported failure means for its message."""
    return Failure(meaning.reason, meaning.party, meaning.message, code, meaning.is_passing)


_ERRORS: Mapping[Kind, type[ProviderError]] = {
    Kind.REJECTED: ProviderRejected,
    Kind.UNKNOWN: OutcomeUnknown,
    Kind.MISCONFIGURED: ProviderMisconfigured,
}


def provider_error(
    provider: str, code: str, meaning: Meaning, *, retry_after: float | None = None, answer: str | None = None
) -> ProviderError:
    """The error an answer stands for; `answer` is what of it is kept."""
    if meaning.kind is Kind.UNAVAILABLE:
        return ProviderUnavailable(
            meaning.message,
            provider=provider,
            provider_code=code,
            reason=meaning.reason,
            party=meaning.party,
            answer=answer,
            scope=meaning.scope,
            retry_after=meaning.pause if retry_after is None else retry_after,
        )
    return _ERRORS[meaning.kind](
        meaning.message,
        provider=provider,
        provider_code=code,
        reason=meaning.reason,
        party=meaning.party,
        answer=answer,
        scope=meaning.scope,
    )
