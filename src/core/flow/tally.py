"""What the end of a call says about the company, whatever it says about the message."""

from collections import defaultdict
from collections.abc import Iterable
from enum import StrEnum

from core.errors import (
    FailureParty,
    FailureReason,
    OutcomeUnknown,
    ProviderError,
    ProviderMisconfigured,
    ProviderUnavailable,
)
from core.flow.values import Outcomes

_BRIEF_PAUSE = 1.0
"""Seconds to wait when a company asks us to slow down and does not say for how long."""


class Verdict(StrEnum):
    """Whether the company answered, failed, or refuses us whatever we ask."""

    ANSWERED = "ANSWERED"
    FAILED = "FAILED"
    REFUSED = "REFUSED"


def verdict(error: ProviderError | None) -> Verdict:
    """Judge the end of a call; None is a success.

    A "no" to one message is an answer, and so are "slow down" and a trouble that only one recipient or template has.
    """
    if isinstance(error, ProviderMisconfigured) and error.reason is not FailureReason.TEMPLATE_REJECTED:
        return Verdict.REFUSED
    if isinstance(error, OutcomeUnknown) or (
        isinstance(error, ProviderUnavailable)
        and error.reason is not FailureReason.RATE_LIMITED
        and error.party in (FailureParty.PROVIDER, FailureParty.OPERATOR)
    ):
        return Verdict.FAILED
    return Verdict.ANSWERED


def pause_asked(error: ProviderError | None) -> float:
    """How many seconds everybody should wait: only what limits the sender counts, not what limits one recipient."""
    if (
        isinstance(error, ProviderUnavailable)
        and error.reason is FailureReason.RATE_LIMITED
        and error.party is FailureParty.PROVIDER
    ):
        return _BRIEF_PAUSE if error.retry_after is None else error.retry_after
    return 0.0


def tally(ended: Iterable[tuple[int | None, ProviderError | None]]) -> list[Outcomes]:
    """Count the ends of calls, each with the ticket it began under, as a gate wants them told."""
    groups: dict[int | None, list[ProviderError | None]] = defaultdict(list)
    for ticket, error in ended:
        groups[ticket].append(error)
    return [_count(ticket, errors) for ticket, errors in groups.items()]


def _count(ticket: int | None, errors: list[ProviderError | None]) -> Outcomes:
    verdicts = [verdict(error) for error in errors]
    return Outcomes(
        ticket,
        successes=verdicts.count(Verdict.ANSWERED),
        failures=verdicts.count(Verdict.FAILED),
        refusals=verdicts.count(Verdict.REFUSED),
        pause=max(pause_asked(error) for error in errors),
    )
