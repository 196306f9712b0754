"""What the end of a call says about the company, whatever it says about the message."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

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
from core.flow.values import Outcomes, Suspect

_BRIEF_PAUSE = 1.0
"""Seconds to wait when a company asks us to slow down and does not say for how long."""


class Verdict(StrEnum):
    """Whether the company answered, failed, or refuses us whatever we ask; or whether the end says nothing about it."""

    ANSWERED = "ANSWERED"
    FAILED = "FAILED"
    REFUSED = "REFUSED"
    NO_EVIDENCE = "NO_EVIDENCE"


@dataclass(frozen=True, slots=True)
class CallEnd:
    """How one call ended: `error` is None for a success, `ticket` is of the allowance under which it began.

    `recipient` is the hash under which the recipient is looked up.
    """

    ticket: int | None
    error: ProviderError | None
    tenant: UUID
    recipient: bytes

    @property
    def suspect(self) -> Suspect:
        """The call as one that its recipient or its tenant may have made fail."""
        is_refusal = verdict(self.error) is Verdict.REFUSED
        return Suspect(_digest(self.recipient), _digest(self.tenant.bytes), is_refusal)


def verdict(error: ProviderError | None) -> Verdict:
    """Judge the end of a call; None is a success.

    A "no" to one message is an answer, and so are "slow down" and a trouble that only one recipient or template has.
    """
    if error is None:
        return Verdict.ANSWERED
    if error.scope is FailureScope.OURS:
        return Verdict.NO_EVIDENCE
    is_answer = isinstance(error, ProviderRejected) or error.scope is FailureScope.MESSAGE
    if is_answer or (isinstance(error, ProviderUnavailable) and error.reason is FailureReason.RATE_LIMITED):
        return Verdict.ANSWERED
    if isinstance(error, ProviderMisconfigured):
        return Verdict.REFUSED
    if isinstance(error, ProviderUnavailable | OutcomeUnknown):
        return Verdict.FAILED
    return Verdict.ANSWERED


def pause_asked(error: ProviderError | None) -> float:
    """How many seconds everybody should wait: only what limits the sender counts, not what limits one recipient."""
    if (
        isinstance(error, ProviderUnavailable)
        and error.reason is FailureReason.RATE_LIMITED
        and error.party is FailureParty.PROVIDER
        and error.scope is not FailureScope.MESSAGE
    ):
        return _BRIEF_PAUSE if error.retry_after is None else error.retry_after
    return 0.0


def tally(ended: Iterable[CallEnd]) -> list[Outcomes]:
    """Count the ends of calls as a gate wants them told: those that began under one ticket together."""
    groups: dict[int | None, list[CallEnd]] = defaultdict(list)
    for end in ended:
        groups[end.ticket].append(end)
    return [_count(ticket, ends) for ticket, ends in groups.items()]


def _count(ticket: int | None, ends: list[CallEnd]) -> Outcomes:
    verdicts = [verdict(end.error) for end in ends]
    certain = [how for how, end in zip(verdicts, ends, strict=True) if _concerns_all(end.error)]
    suspects = [
        end.suspect
        for how, end in zip(verdicts, ends, strict=True)
        if how in (Verdict.FAILED, Verdict.REFUSED) and not _concerns_all(end.error)
    ]
    return Outcomes(
        ticket,
        successes=verdicts.count(Verdict.ANSWERED),
        failures=certain.count(Verdict.FAILED),
        refusals=certain.count(Verdict.REFUSED),
        pause=max(pause_asked(end.error) for end in ends),
        suspects=tuple(dict.fromkeys(suspects)),
        tenants=frozenset(_digest(end.tenant.bytes) for end in ends),
    )


def _concerns_all(error: ProviderError | None) -> bool:
    return error is not None and error.scope is FailureScope.PROVIDER


def _digest(value: bytes) -> str:
    """A short hash, so that the shared store holds nobody's address and no look-up hash."""
    return hashlib.blake2b(value, digest_size=8, person=b"circuit").hexdigest()
