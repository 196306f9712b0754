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
from core.messages.backoff import LONGEST_PAUSE, LONGEST_SLOWED, retry_in
from core.messages.failures import failure_of
from core.messages.provider_ids import ProviderId
from core.messages.transitions import Attempt, Standing
from core.messages.values import AttemptOutcome
from core.ports import Receipt


@dataclass(frozen=True, slots=True)
class Verdict:
    """How an attempt ended; `wait` until the next one, where one is due; `detail` holds no personal data."""

    attempt: Attempt
    wait: timedelta | None
    detail: str


def judge(
    standing: Standing,
    number: int,
    integration: str,
    result: Receipt | ProviderError,
    provider_id: ProviderId | None = None,
    *,
    retry_for: timedelta,
) -> Verdict:
    """Read the end of a message's attempt; `retry_for` is how long its step is tried at least.

    `provider_id` is the receipt's, as it may be kept.
    """
    step = standing.attempts[number].step
    if isinstance(result, Receipt):
        accepted = Attempt(
            number,
            step,
            AttemptOutcome.ACCEPTED,
            provider_id=provider_id,
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
    return Verdict(attempt, _wait(standing, attempt, asked, retry_for), detail)


def _wait(standing: Standing, attempt: Attempt, asked: float | None, retry_for: timedelta) -> timedelta | None:
    """How long until the next try of a step, if it has one left.

    "Slow down" costs none of the tries that failures have, and the other way round: each alone lasts `retry_for`.
    """
    before = [one for one in standing.attempts.values() if one.step == attempt.step and one.number < attempt.number]
    is_slowed = _is_slowed(attempt)
    tries = 1 + sum(_is_slowed(one) is is_slowed for one in before)
    return retry_in(tries, asked, retry_for=retry_for, longest=LONGEST_SLOWED if is_slowed else LONGEST_PAUSE)


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
