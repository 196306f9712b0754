"""What a call's end means for its attempt: accepted, refused, to be tried again, or nobody knows."""

from dataclasses import dataclass
from datetime import timedelta

from core.errors import (
    FailureParty,
    FailureReason,
    OutcomeUnknown,
    ProviderError,
    ProviderRejected,
    ProviderUnavailable,
)
from core.messages.backoff import retry_in
from core.messages.failures import failure_of
from core.messages.transitions import Attempt
from core.messages.values import AttemptOutcome
from core.ports import Receipt


@dataclass(frozen=True, slots=True)
class Verdict:
    """How an attempt ended; `wait` until the next one, where one is due; `detail` holds no personal data."""

    attempt: Attempt
    wait: timedelta | None
    detail: str


def judge(number: int, step: int, tries: int, integration: str, result: Receipt | ProviderError) -> Verdict:
    """Read the end of attempt `number`, which was the step's `tries`-th."""
    if isinstance(result, Receipt):
        accepted = Attempt(
            number,
            step,
            AttemptOutcome.ACCEPTED,
            provider_message_id=result.provider_message_id,
            answer=result.answer,
        )
        return Verdict(accepted, None, f"{integration} took it: {result.detail or 'accepted'}")
    code = f" ({result.provider_code})" if result.provider_code else ""
    detail = f"{integration}{code}: {result.message}"
    attempt = Attempt(number, step, _outcome(result), failure=failure_of(result), answer=result.answer)
    if isinstance(result, ProviderRejected | OutcomeUnknown):
        return Verdict(attempt, None, detail)
    # Unavailable, or refusing us rather than the message: surely not done, so worth another try.
    asked = result.retry_after if isinstance(result, ProviderUnavailable) else None
    return Verdict(attempt, retry_in(tries, asked), detail)


def _outcome(error: ProviderError) -> AttemptOutcome:
    match error:
        case ProviderRejected():
            return AttemptOutcome.REJECTED
        case OutcomeUnknown():
            return AttemptOutcome.UNCONFIRMED
        case _:
            return AttemptOutcome.UNAVAILABLE


def unreadable(integration: str) -> ProviderRejected:
    """The verdict on a message whose sealed columns cannot be opened: it would come back for ever."""
    return ProviderRejected(
        "The message cannot be read back: is the key it was sealed with still among ENCRYPTION_KEYS?",
        provider=integration,
        reason=FailureReason.OTHER,
        party=FailureParty.OPERATOR,
    )
