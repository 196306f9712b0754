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
from core.messages.backoff import MAX_ASKED, retry_in
from core.messages.failures import failure_of
from core.messages.transitions import Attempt, Standing
from core.messages.values import AttemptOutcome
from core.ports import Receipt


@dataclass(frozen=True, slots=True)
class Verdict:
    """How an attempt ended; `wait` until the next one, where one is due; `detail` holds no personal data."""

    attempt: Attempt
    wait: timedelta | None
    detail: str


def judge(standing: Standing, number: int, integration: str, result: Receipt | ProviderError) -> Verdict:
    """Read the end of a message's attempt."""
    step = standing.attempts[number].step
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
    return Verdict(attempt, _wait(standing, step, attempt, asked), detail)


def _wait(standing: Standing, step: int, attempt: Attempt, asked: float | None) -> timedelta | None:
    """How long until the next try of a step, if it has one left. "Slow down" costs no try, up to a limit of its own."""
    before = [one for one in standing.attempts.values() if one.step == step and one.number < attempt.number]
    if len(before) + 1 >= MAX_ASKED:
        return None
    tries = sum(not _is_slowed(one) for one in before) + (not _is_slowed(attempt))
    return retry_in(max(1, tries), asked)


def _is_slowed(attempt: Attempt) -> bool:
    return attempt.failure is not None and attempt.failure.reason is FailureReason.RATE_LIMITED


def _outcome(error: ProviderError) -> AttemptOutcome:
    match error:
        case ProviderRejected():
            return AttemptOutcome.REJECTED
        case OutcomeUnknown():
            return AttemptOutcome.UNCONFIRMED
        case _:
            return AttemptOutcome.UNAVAILABLE


def kept_from(integration: str) -> ProviderRejected:
    """The verdict on a test key's message that came as far as a real company's door."""
    return ProviderRejected(
        f"A test key sent it, and {integration} is not simulated on this server: the company was not called.",
        provider=integration,
        reason=FailureReason.OTHER,
        party=FailureParty.CALLER,
    )


def unreadable(integration: str) -> ProviderRejected:
    """The verdict on a message whose sealed columns cannot be opened: it would come back for ever."""
    return ProviderRejected(
        "The message cannot be read back: is the key it was sealed with still among ENCRYPTION_KEYS?",
        provider=integration,
        reason=FailureReason.OTHER,
        party=FailureParty.OPERATOR,
    )
