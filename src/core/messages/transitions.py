"""How a message moves, as pure functions: what a company reports is decided by rank, here; what we do, by tokens.

A message's status follows from its attempts and its route. Proof of delivery from any attempt wins; a report ranked
no higher than what its attempt has seen already changes nothing; FAILED is reached only when no step is left.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from core.messages.values import AttemptOutcome, MessageStatus
from core.ports import Failure, ReportedStatus

_SENT = ReportedStatus.SENT.rank
_FAILED = ReportedStatus.FAILED.rank
_DELIVERED = ReportedStatus.DELIVERED.rank
_READ = ReportedStatus.READ.rank


@dataclass(frozen=True, slots=True)
class Attempt:
    """What is known of one call to a company."""

    number: int
    step: int
    outcome: AttemptOutcome
    rank: int = 0
    provider_message_id: str | None = None
    failure: Failure | None = None

    @property
    def has_failed(self) -> bool:
        """Whether it ended for good without reaching anybody."""
        refused = self.outcome in (AttemptOutcome.REJECTED, AttemptOutcome.UNAVAILABLE)
        return self.rank == _FAILED or (refused and self.rank == 0)


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a message stands on its route of channels, with every attempt by its number."""

    status: MessageStatus
    step: int
    channels: Sequence[str]
    attempts: Mapping[int, Attempt]
    failure: Failure | None = None

    @property
    def latest(self) -> Attempt:
        return self.attempts[max(self.attempts)]


@dataclass(frozen=True, slots=True)
class Move:
    """What a standing became. Unless `is_parted`, its lease and due time end; `due_in` asks for another attempt.

    Parted is news about an attempt that no longer decides: the message goes on as it was.
    """

    standing: Standing
    due_in: timedelta | None = None
    is_parted: bool = False


def after_outcome(standing: Standing, ended: Attempt, *, retry_in: timedelta | None = None) -> Move:
    """Take in how our own call ended; `retry_in` is set when the company was unavailable and tries are left."""
    known = standing.attempts[ended.number]
    rank = max(known.rank, _SENT if ended.outcome is AttemptOutcome.ACCEPTED else 0)
    if known.rank > 0:
        # A report overtook the answer: it knows more than the end of the call does.
        ended = replace(ended, outcome=AttemptOutcome.ACCEPTED, failure=known.failure)
    ended = replace(ended, rank=rank, provider_message_id=ended.provider_message_id or known.provider_message_id)
    return _settle(standing, ended, retry_in if rank == 0 else None)


def after_report(
    standing: Standing,
    number: int,
    status: ReportedStatus,
    failure: Failure | None = None,
    provider_message_id: str | None = None,
) -> Move | None:
    """Take in what a company reports about an attempt; None when it ranks no higher than what is known."""
    attempt = standing.attempts[number]
    if status.rank <= attempt.rank:
        return None
    # Any report proves that the call arrived, whatever became of its answer.
    reported = replace(
        attempt,
        outcome=AttemptOutcome.ACCEPTED,
        rank=status.rank,
        failure=failure if status is ReportedStatus.FAILED else None,
        provider_message_id=attempt.provider_message_id or provider_message_id,
    )
    return _settle(standing, reported, None)


def _settle(before: Standing, attempt: Attempt, retry_in: timedelta | None) -> Move:
    standing = replace(before, attempts={**before.attempts, attempt.number: attempt})
    best = max(standing.attempts.values(), key=lambda one: one.rank if one.rank >= _DELIVERED else 0)
    if best.rank >= _DELIVERED:
        status = MessageStatus.READ if best.rank >= _READ else MessageStatus.DELIVERED
        return Move(replace(standing, status=status, step=best.step, failure=None))
    if attempt.number != standing.latest.number or attempt.step != standing.step:
        return Move(standing, is_parted=True)
    if retry_in is not None:
        return Move(replace(standing, status=MessageStatus.QUEUED, failure=attempt.failure), due_in=retry_in)
    if attempt.has_failed:
        return _leave_step(standing, attempt)
    if attempt.rank == 0 and attempt.outcome is AttemptOutcome.UNCONFIRMED:
        return Move(replace(standing, status=MessageStatus.UNCONFIRMED, failure=attempt.failure))
    return Move(replace(standing, status=MessageStatus.SENT, failure=None))


def _leave_step(standing: Standing, failed: Attempt) -> Move:
    if failed.step + 1 < len(standing.channels):
        onward = replace(standing, status=MessageStatus.QUEUED, step=failed.step + 1, failure=failed.failure)
        return Move(onward, due_in=timedelta(0))
    return Move(replace(standing, status=MessageStatus.FAILED, failure=failed.failure))
