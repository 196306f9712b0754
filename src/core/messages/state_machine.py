"""How a message moves, as pure functions: what a company reports is decided by rank, here; what we do, by tokens.

A message's status follows from its attempts and its route. Proof of delivery from any attempt wins; a report ranked
no higher than what its attempt has seen already changes nothing; FAILED is reached only when no step is left.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Protocol

from core.errors import FailureParty, FailureReason
from core.messages.status import AttemptOutcome, MessageStatus, ProviderId, RouteGoal, Step
from core.ports import Channel, Failure, ReportedStatus

_SENT = ReportedStatus.SENT.rank
_FAILED = ReportedStatus.FAILED.rank
_DELIVERED = ReportedStatus.DELIVERED.rank
_READ = ReportedStatus.READ.rank
_AT_ONCE = timedelta(0)

STOPPABLE = frozenset({MessageStatus.SCHEDULED, MessageStatus.QUEUED})
"""What has not gone out, unless an earlier attempt has."""

EXPIRED = Failure(
    FailureReason.EXPIRED, FailureParty.CALLER, "It was not sent in the time it was worth sending, `expiresIn`."
)
EXPIRED_ON_THE_WAY = Failure(
    FailureReason.EXPIRED,
    FailureParty.CALLER,
    "Nobody had reported that it arrived when its time, `expiresIn`, was up, and nothing more is sent for it: a company"
    " took it, or perhaps did, so it may still arrive.",
)
NEVER_KNOWN = Failure(
    FailureReason.OTHER,
    FailureParty.PROVIDER,
    "Nobody could say whether the company took it, and it was waited for as long as that makes sense.",
)
SETTLED_AS_FAILED = Failure(
    FailureReason.OTHER,
    FailureParty.CALLER,
    "Nobody could say whether the provider took it, and it was settled by hand as failed.",
)
MISTAKEN = Failure(
    FailureReason.OTHER,
    FailureParty.PROVIDER,
    "The provider's list seemed to show it, but that was another message: whether it was taken is not known yet.",
)
ERASED = Failure(
    FailureReason.OTHER,
    FailureParty.CALLER,
    "Everything about its recipient was erased before anybody could say whether it arrived.",
)


@dataclass(frozen=True, slots=True)
class Attempt:
    """What is known of one call to a company; `answer` is theirs, as far as it may be kept in plain."""

    number: int
    step: int
    outcome: AttemptOutcome
    rank: int = 0
    provider_id: ProviderId | None = None
    failure: Failure | None = None
    answer: str | None = None
    # Whether id and rank come from the provider's list, where another message may look like it: neither its own answer
    # nor a signed report has named this attempt yet.
    is_from_list: bool = False

    @property
    def has_failed(self) -> bool:
        """Whether it ended for good without reaching anybody."""
        refused = self.outcome in (AttemptOutcome.REJECTED, AttemptOutcome.UNAVAILABLE)
        return self.rank == _FAILED or (refused and self.rank == 0)

    @property
    def may_have_left(self) -> bool:
        """Whether a company took it, or perhaps did."""
        return self.rank > 0 or self.outcome in (AttemptOutcome.ACCEPTED, AttemptOutcome.UNCONFIRMED)

    @property
    def is_in_doubt(self) -> bool:
        """Whether nobody knows if a company took it."""
        return self.rank == 0 and self.outcome is AttemptOutcome.UNCONFIRMED


@dataclass(frozen=True, slots=True)
class MessageState:
    """Where a message stands on its route, with every attempt that was begun by its number.

    `simulated_only` if a test key sent it.
    """

    status: MessageStatus
    step: int
    route: Sequence[Step]
    attempts: Mapping[int, Attempt]
    failure: Failure | None = None
    simulated_only: bool = False
    # Content or addresses are no longer kept: nothing more can be sent for it.
    is_erased: bool = False
    # Its `expiresIn` is over: nothing more is begun for it.
    is_expired: bool = False

    @property
    def latest(self) -> Attempt:
        return self.attempts[max(self.attempts)]

    @property
    def furthest(self) -> int:
        """The last step that has been reached; the present one may be an earlier one whose fate was open."""
        return max([self.step, *(one.step for one in self.attempts.values())])

    @property
    def has_next(self) -> bool:
        """Whether a step is left that has not been reached."""
        return self.furthest + 1 < len(self.route) and not self.is_erased

    @property
    def is_over(self) -> bool:
        """Whether nothing more will be sent for it, unless somebody asks."""
        return self.is_expired or not self.has_next

    @property
    def waits_for_goal(self) -> bool:
        """Whether it was taken, and its step has to reach more than that before its time is up."""
        return (
            self.status is MessageStatus.SENT
            and not self.is_over
            and self.route[self.step].until is RouteGoal.DELIVERED
        )

    @property
    def may_still_arrive(self) -> bool:
        """Whether a company has it, or perhaps has, and has not said that it failed."""
        return any(one.may_have_left and not one.has_failed for one in self.attempts.values())

    def channel_of(self, attempt: int | None) -> Channel:
        """The channel an attempt went over; without one, the channel that is next."""
        return self.route[self.step if attempt is None else self.attempts[attempt].step].channel


@dataclass(frozen=True, slots=True)
class Transition:
    """What a standing became. Unless `is_parted`, its lease and due time end; `due_in` asks for another look.

    Parted is news about an attempt that no longer decides: the message goes on as it was.
    """

    standing: MessageState
    due_in: timedelta | None = None
    is_parted: bool = False


# ─── What became of our calls ───────────────────────────────────────────────


def after_outcome(
    standing: MessageState, ended: Attempt, *, retry_in: timedelta | None = None, hold: timedelta = _AT_ONCE
) -> Transition:
    """Take in how our own call ended.

    `retry_in` is set when the company was unavailable and tries are left; `hold` is how long a doubt is left alone.
    """
    known = standing.attempts[ended.number]
    rank = max(known.rank, _SENT if ended.outcome is AttemptOutcome.ACCEPTED else 0)
    if known.rank > 0:
        # A report overtook the answer: it knows more than the end of the call does.
        ended = replace(ended, outcome=AttemptOutcome.ACCEPTED, failure=known.failure)
    ended = replace(ended, rank=rank, provider_id=ended.provider_id or known.provider_id)
    return _settle(standing, ended, retry_in if rank == 0 else None, hold)


def after_report(
    standing: MessageState,
    number: int,
    status: ReportedStatus,
    failure: Failure | None = None,
    provider_id: ProviderId | None = None,
    *,
    is_from_list: bool = False,
) -> Transition | None:
    """Take in what a company reports about an attempt; None when it says nothing new.

    `is_from_list` when nothing but its likeness says that the provider's record is this attempt.
    """
    attempt = standing.attempts[number]
    learns_id = attempt.provider_id is None and provider_id is not None
    if status.rank <= attempt.rank:
        # It was settled by hand, and now the provider says which of its messages that is.
        named = replace(attempt, provider_id=provider_id)
        return _noted(standing, named) if learns_id and status.rank == attempt.rank else None
    # Any report proves that the call arrived, whatever became of its answer.
    reported = replace(
        attempt,
        outcome=AttemptOutcome.ACCEPTED,
        rank=status.rank,
        failure=failure if status is ReportedStatus.FAILED else None,
        provider_id=attempt.provider_id or provider_id,
        is_from_list=is_from_list if learns_id else attempt.is_from_list,
    )
    return _settle(standing, reported, None, _AT_ONCE)


def _noted(before: MessageState, attempt: Attempt) -> Transition:
    return Transition(replace(before, attempts={**before.attempts, attempt.number: attempt}), is_parted=True)


def _settle(before: MessageState, attempt: Attempt, retry_in: timedelta | None, hold: timedelta) -> Transition:
    standing = _noted(before, attempt).standing
    # Of two that say the same, the earlier one served, whatever order they are told in.
    best = max(standing.attempts.values(), key=lambda one: (one.rank, -one.number))
    if best.rank >= _DELIVERED:
        status = MessageStatus.READ if best.rank >= _READ else MessageStatus.DELIVERED
        return Transition(replace(standing, status=status, step=best.step, failure=None))
    if _comes_too_late(before, attempt):
        return Transition(standing, is_parted=True)
    if (step := _step_that_has_it(before, standing, attempt)) is not None:
        return Transition(replace(standing, status=MessageStatus.SENT, step=step, failure=None))
    if attempt.step != standing.step or _is_decided_elsewhere(before, standing, attempt):
        return Transition(standing, is_parted=True)
    if retry_in is not None and before.status is not MessageStatus.FAILED:
        return Transition(replace(standing, status=MessageStatus.QUEUED, failure=attempt.failure), due_in=retry_in)
    if standing.latest.is_in_doubt:
        latest = standing.latest
        doubt = replace(standing, status=MessageStatus.UNCONFIRMED, step=latest.step, failure=latest.failure)
        return Transition(doubt, due_in=hold)
    return _leave_step(standing, attempt.failure, waits=before.status is not MessageStatus.FAILED)


def _comes_too_late(before: MessageState, attempt: Attempt) -> bool:
    """Whether news short of delivery changes nothing: a call is under way, or the message was stopped for good."""
    if before.status is MessageStatus.SENDING:
        return attempt.number != before.latest.number
    if before.status is MessageStatus.FAILED:
        return attempt.rank != _SENT and (before.has_next or not attempt.has_failed)
    return before.status is MessageStatus.CANCELED


def _step_that_has_it(before: MessageState, standing: MessageState, attempt: Attempt) -> int | None:
    """The step in which a company has the message, so that nothing more is sent before it has failed there.

    That is the step the news is about: the present one, if any of its attempts was taken; another one, if being
    taken is all that was asked of it and nothing has been begun since, or if nothing more would be sent anyway.
    """
    if attempt.step == standing.step:
        has_it = any(one.rank == _SENT and one.step == attempt.step for one in standing.attempts.values())
    elif before.status is MessageStatus.FAILED or (before.status is MessageStatus.UNCONFIRMED and before.is_over):
        has_it = attempt.rank == _SENT
    else:
        was_enough = attempt.rank == _SENT and standing.route[attempt.step].until is RouteGoal.SENT
        has_it = was_enough and all(one.step <= attempt.step for one in standing.attempts.values())
    return attempt.step if has_it else None


def _is_decided_elsewhere(before: MessageState, standing: MessageState, attempt: Attempt) -> bool:
    """Whether another attempt of its step decides what becomes of the message."""
    if attempt.number == standing.latest.number or before.status is MessageStatus.SENT:
        return False
    if before.status is MessageStatus.UNCONFIRMED:
        return any(one.is_in_doubt and one.step == attempt.step for one in standing.attempts.values())
    return True


def _leave_step(standing: MessageState, failure: Failure | None, *, waits: bool = True) -> Transition:
    if standing.has_next:
        onward = replace(standing, status=MessageStatus.QUEUED, step=standing.furthest + 1, failure=failure)
        return Transition(onward, due_in=_AT_ONCE)
    return _rest(standing, failure, waits=waits)


def _rest(
    standing: MessageState, failure: Failure | None, *, waits: bool = True, begin: int | None = None
) -> Transition:
    """Nothing more is sent: the message stands where its best attempt does, and has failed only if all of them have.

    While nobody knows of one of them it is UNCONFIRMED, unless it was waited for long enough.
    """
    tried = sorted(standing.attempts.values(), key=lambda one: one.number)
    if taken := [one for one in tried if one.rank == _SENT]:
        return Transition(replace(standing, status=MessageStatus.SENT, step=taken[-1].step, failure=None))
    if begin is None:
        # What an earlier try by hand left open had been given up when somebody asked for another.
        begin = max((number for number, one in enumerate(standing.route) if one.begins_anew), default=0)
    if doubts := [one for one in tried if waits and one.is_in_doubt and one.step >= begin]:
        last = doubts[-1]
        doubt = replace(standing, status=MessageStatus.UNCONFIRMED, step=last.step, failure=last.failure)
        return Transition(doubt, due_in=_AT_ONCE)
    return Transition(replace(standing, status=MessageStatus.FAILED, failure=failure))


# ─── What time brings ───────────────────────────────────────────────────────


def after_hour(standing: MessageState) -> Transition:
    """The hour it was scheduled for has come."""
    return Transition(replace(standing, status=MessageStatus.QUEUED), due_in=_AT_ONCE)


def after_expiry(standing: MessageState) -> Transition:
    """It is not worth sending any more, and nothing of it is under way just now: what was sent decides."""
    failure = EXPIRED_ON_THE_WAY if standing.may_still_arrive else _expired_after(standing.failure)
    return _rest(replace(standing, is_expired=True), failure)


def _expired_after(last: Failure | None) -> Failure:
    """Why it was not sent in time: if it was tried, whoever stood in its way then can mend that."""
    if last is None:
        return EXPIRED
    words = f"{EXPIRED.message} The last try: {last.message}"
    return replace(EXPIRED, party=last.party, message=words, provider_code=last.provider_code)


def after_deadline(standing: MessageState) -> Transition:
    """Its step's time is up: on to the next one, whatever becomes of what is under way."""
    return Transition(standing) if standing.is_over else _leave_step(standing, None)


# ─── What is decided about a doubt ──────────────────────────────────────────


def keep_waiting(standing: MessageState, due_in: timedelta) -> Transition:
    """Nobody knows yet; look again later."""
    return Transition(standing, due_in=due_in)


def send_again(standing: MessageState) -> Transition:
    """Send once more on the same channel, though it may arrive twice."""
    return Transition(replace(standing, status=MessageStatus.QUEUED, failure=None), due_in=_AT_ONCE)


def go_on(standing: MessageState) -> Transition:
    """Leave the doubt behind, for the next channel; what has been said of it since stays on its attempt."""
    return _leave_step(standing, standing.failure)


def give_up(standing: MessageState) -> Transition:
    """Stop waiting: the step has failed as far as anybody can tell."""
    return _leave_step(standing, NEVER_KNOWN, waits=False)


def withdrawn(standing: MessageState, number: int, due_in: timedelta) -> Transition:
    """The record of the provider's list that an attempt was taken for is another message's: nobody knows of it again.

    The one way back there is: what it was believed to have reached was never its own.
    """
    unknown = replace(
        standing.attempts[number],
        outcome=AttemptOutcome.UNCONFIRMED,
        rank=0,
        provider_id=None,
        failure=MISTAKEN,
        is_from_list=False,
    )
    after = _noted(standing, unknown).standing
    best = max(after.attempts.values(), key=lambda one: (one.rank, -one.number))
    if best.rank >= _DELIVERED:
        status = MessageStatus.READ if best.rank >= _READ else MessageStatus.DELIVERED
        return Transition(replace(after, status=status, step=best.step, failure=None))
    rested = (MessageStatus.SENT, MessageStatus.DELIVERED, MessageStatus.READ, MessageStatus.FAILED)
    if standing.status not in rested:
        return Transition(after, is_parted=True)
    move = _rest(after, standing.failure, begin=0)
    return replace(move, due_in=None if move.due_in is None else due_in)


# ─── What is decided by hand ────────────────────────────────────────────────


def settled_as_sent(standing: MessageState) -> Transition:
    """Somebody knows that the provider took it."""
    doubts = [one for one in standing.attempts.values() if one.is_in_doubt]
    if not doubts:
        return Transition(replace(standing, status=MessageStatus.SENT, failure=None))
    doubt = max(doubts, key=lambda one: one.number)
    taken = replace(doubt, outcome=AttemptOutcome.ACCEPTED, rank=_SENT, failure=None)
    after = _noted(standing, taken).standing
    return Transition(replace(after, status=MessageStatus.SENT, step=taken.step, failure=None))


def settled_as_failed(standing: MessageState) -> Transition:
    """Somebody does not wait for it any more; another attempt that was taken is not undone by that."""
    return _rest(standing, SETTLED_AS_FAILED, waits=False)


# ─── What people ask for ────────────────────────────────────────────────────


class Tried(Protocol):
    """An attempt, as far as it has to be known to stop what follows."""

    @property
    def may_have_left(self) -> bool:
        """Whether a company took it, or perhaps did."""
        ...


def can_be_stopped(status: MessageStatus, attempts: Iterable[Tried]) -> bool:
    """Whether nothing of a message has left: a company that took it, or perhaps did, cannot be made to forget."""
    return status in STOPPABLE and not any(one.may_have_left for one in attempts)


def canceled(standing: MessageState) -> Transition:
    """Somebody stopped it before anything of it had left."""
    return Transition(replace(standing, status=MessageStatus.CANCELED))


def erased(standing: MessageState) -> Transition | None:
    """Its recipient is forgotten: what waits is stopped, what nobody knows is given up; None where it has ended."""
    if standing.status in STOPPABLE:
        return canceled(standing)
    if standing.status is MessageStatus.UNCONFIRMED:
        return Transition(replace(standing, status=MessageStatus.FAILED, failure=ERASED))
    return None


def retried(standing: MessageState, route: Sequence[Step]) -> Transition:
    """Somebody asked for another try: its steps follow the old ones, whose numbers stay theirs."""
    extended = [*standing.route, replace(route[0], begins_anew=True), *route[1:]]
    again = replace(standing, status=MessageStatus.QUEUED, step=len(standing.route), route=extended, failure=None)
    return Transition(again, due_in=_AT_ONCE)
