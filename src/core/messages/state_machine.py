"""The state machine of a message, as pure functions: from its state and what happened to its next state.

A message's status follows from its attempts and its route. Proof of delivery from any attempt wins. A report ranked no
higher than what its attempt has reached changes nothing, so reports move a message forward only. FAILED is reached
only when no step is left.
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

CANCELABLE = frozenset({MessageStatus.SCHEDULED, MessageStatus.QUEUED})
"""Statuses in which nothing has been sent, unless by an earlier attempt."""

EXPIRED = Failure(FailureReason.EXPIRED, FailureParty.CALLER, "It was not sent within `expiresIn`.")
EXPIRED_ON_THE_WAY = Failure(
    FailureReason.EXPIRED,
    FailureParty.CALLER,
    "No delivery had been reported when `expiresIn` was over, and it is not sent again. A provider accepted it, or may"
    " have, so it may still arrive.",
)
UNKNOWN_AFTER_WAITING = Failure(
    FailureReason.OTHER,
    FailureParty.PROVIDER,
    "It stayed unknown for three days whether the provider accepted it.",
)
SETTLED_AS_FAILED = Failure(
    FailureReason.OTHER,
    FailureParty.CALLER,
    "It is not known whether the provider accepted it, and it was settled by hand as failed.",
)
WRONG_RECORD = Failure(
    FailureReason.OTHER,
    FailureParty.PROVIDER,
    "The record found in the provider's list is another message's: whether it was accepted is not known yet.",
)
ERASED = Failure(
    FailureReason.OTHER,
    FailureParty.CALLER,
    "Its recipient's data was erased before it was known whether it arrived.",
)


@dataclass(frozen=True, slots=True)
class Attempt:
    """What is known of one call to a provider; `answer` is the part of its answer that may be stored unencrypted."""

    number: int
    step: int
    outcome: AttemptOutcome
    rank: int = 0
    provider_id: ProviderId | None = None
    failure: Failure | None = None
    answer: str | None = None
    # Whether id and rank come from a record in the provider's list that looks like this attempt: neither the answer to
    # the call nor a signed report has named it yet.
    is_from_list: bool = False

    @property
    def has_failed(self) -> bool:
        """Whether it ended for good and was not sent."""
        refused = self.outcome in (AttemptOutcome.REJECTED, AttemptOutcome.UNAVAILABLE)
        return self.rank == _FAILED or (refused and self.rank == 0)

    @property
    def may_have_been_sent(self) -> bool:
        """Whether a provider accepted it, or may have."""
        return self.rank > 0 or self.outcome in (AttemptOutcome.ACCEPTED, AttemptOutcome.UNCONFIRMED)

    @property
    def is_unconfirmed(self) -> bool:
        """Whether it is unknown if a provider accepted it."""
        return self.rank == 0 and self.outcome is AttemptOutcome.UNCONFIRMED


@dataclass(frozen=True, slots=True)
class MessageState:
    """A message's status and step, with every attempt that was begun, by number.

    `simulated_only` when a test key sent it.
    """

    status: MessageStatus
    step: int
    route: Sequence[Step]
    attempts: Mapping[int, Attempt]
    failure: Failure | None = None
    simulated_only: bool = False
    # Content or addresses were erased: it cannot be sent any more.
    is_erased: bool = False
    # Its `expiresIn` is over: no further attempt is begun.
    is_expired: bool = False

    @property
    def latest(self) -> Attempt:
        return self.attempts[max(self.attempts)]

    @property
    def furthest(self) -> int:
        """The last step that was begun; the current step may be an earlier one that was unconfirmed."""
        return max([self.step, *(one.step for one in self.attempts.values())])

    @property
    def has_next(self) -> bool:
        """Whether a step is left that was not begun."""
        return self.furthest + 1 < len(self.route) and not self.is_erased

    @property
    def is_over(self) -> bool:
        """Whether nothing more will be sent for it, unless a retry is requested."""
        return self.is_expired or not self.has_next

    @property
    def waits_for_goal(self) -> bool:
        """Whether a provider accepted it, and its step has yet to reach DELIVERED before its deadline."""
        return (
            self.status is MessageStatus.SENT
            and not self.is_over
            and self.route[self.step].until is RouteGoal.DELIVERED
        )

    @property
    def may_still_arrive(self) -> bool:
        """Whether a provider accepted it, or may have, and has not reported a failure."""
        return any(one.may_have_been_sent and not one.has_failed for one in self.attempts.values())

    def channel_of(self, attempt: int | None) -> Channel:
        """The channel of an attempt; without one, the channel of the current step."""
        return self.route[self.step if attempt is None else self.attempts[attempt].step].channel


@dataclass(frozen=True, slots=True)
class Transition:
    """The next state. Unless `is_attempt_only`, the lease and the due time end; `due_in` sets a new due time.

    `is_attempt_only` when only an attempt changed, and the message's status, lease and deadlines stay as they are.
    """

    state: MessageState
    due_in: timedelta | None = None
    is_attempt_only: bool = False


# ─── Outcomes of calls, and reports ───────────────────────────────────────────────


def after_outcome(
    state: MessageState, ended: Attempt, *, retry_in: timedelta | None = None, hold: timedelta = _AT_ONCE
) -> Transition:
    """Apply the outcome of a call.

    `retry_in` is set when the provider was unavailable and tries are left; `hold` is how long an unconfirmed attempt is
    left before it is settled.
    """
    known = state.attempts[ended.number]
    rank = max(known.rank, _SENT if ended.outcome is AttemptOutcome.ACCEPTED else 0)
    if known.rank > 0:
        # A report arrived before the answer, and says more than the answer does.
        ended = replace(ended, outcome=AttemptOutcome.ACCEPTED, failure=known.failure)
    ended = replace(ended, rank=rank, provider_id=ended.provider_id or known.provider_id)
    return _settle(state, ended, retry_in if rank == 0 else None, hold)


def after_report(
    state: MessageState,
    number: int,
    status: ReportedStatus,
    failure: Failure | None = None,
    provider_id: ProviderId | None = None,
    *,
    is_from_list: bool = False,
) -> Transition | None:
    """Apply what a provider reports about an attempt; None when it changes nothing.

    `is_from_list` when the report is a record in the provider's list that only looks like this attempt.
    """
    attempt = state.attempts[number]
    learns_id = attempt.provider_id is None and provider_id is not None
    if status.rank <= attempt.rank:
        # It was settled by hand, and the report says which of the provider's messages it is.
        named = replace(attempt, provider_id=provider_id)
        return _with_attempt(state, named) if learns_id and status.rank == attempt.rank else None
    # Any report proves that the call arrived, even if its answer was lost.
    reported = replace(
        attempt,
        outcome=AttemptOutcome.ACCEPTED,
        rank=status.rank,
        failure=failure if status is ReportedStatus.FAILED else None,
        provider_id=attempt.provider_id or provider_id,
        is_from_list=is_from_list if learns_id else attempt.is_from_list,
    )
    return _settle(state, reported, None, _AT_ONCE)


def _with_attempt(before: MessageState, attempt: Attempt) -> Transition:
    return Transition(replace(before, attempts={**before.attempts, attempt.number: attempt}), is_attempt_only=True)


def _settle(before: MessageState, attempt: Attempt, retry_in: timedelta | None, hold: timedelta) -> Transition:
    state = _with_attempt(before, attempt).state
    # Of two attempts with the same rank the earlier one counts, in whichever order they were reported.
    best = max(state.attempts.values(), key=lambda one: (one.rank, -one.number))
    if best.rank >= _DELIVERED:
        status = MessageStatus.READ if best.rank >= _READ else MessageStatus.DELIVERED
        return Transition(replace(state, status=status, step=best.step, failure=None))
    if _comes_too_late(before, attempt):
        return Transition(state, is_attempt_only=True)
    if (step := _step_that_has_it(before, state, attempt)) is not None:
        return Transition(replace(state, status=MessageStatus.SENT, step=step, failure=None))
    if attempt.step != state.step or _is_decided_elsewhere(before, state, attempt):
        return Transition(state, is_attempt_only=True)
    if retry_in is not None and before.status is not MessageStatus.FAILED:
        return Transition(replace(state, status=MessageStatus.QUEUED, failure=attempt.failure), due_in=retry_in)
    if state.latest.is_unconfirmed:
        latest = state.latest
        unsettled = replace(state, status=MessageStatus.UNCONFIRMED, step=latest.step, failure=latest.failure)
        return Transition(unsettled, due_in=hold)
    return _leave_step(state, attempt.failure, waits=before.status is not MessageStatus.FAILED)


def _comes_too_late(before: MessageState, attempt: Attempt) -> bool:
    """Whether a report short of delivery changes nothing: a call is under way, or the message has ended."""
    if before.status is MessageStatus.SENDING:
        return attempt.number != before.latest.number
    if before.status is MessageStatus.FAILED:
        return attempt.rank != _SENT and (before.has_next or not attempt.has_failed)
    return before.status is MessageStatus.CANCELED


def _step_that_has_it(before: MessageState, state: MessageState, attempt: Attempt) -> int | None:
    """The step in which a provider accepted the message, so that nothing more is sent unless it fails there.

    That is the step of this attempt: the current step, if any of its attempts was accepted; another step, if SENT is
    its goal and nothing was begun since, or if nothing more would be sent anyway.
    """
    if attempt.step == state.step:
        has_it = any(one.rank == _SENT and one.step == attempt.step for one in state.attempts.values())
    elif before.status is MessageStatus.FAILED or (before.status is MessageStatus.UNCONFIRMED and before.is_over):
        has_it = attempt.rank == _SENT
    else:
        was_enough = attempt.rank == _SENT and state.route[attempt.step].until is RouteGoal.SENT
        has_it = was_enough and all(one.step <= attempt.step for one in state.attempts.values())
    return attempt.step if has_it else None


def _is_decided_elsewhere(before: MessageState, state: MessageState, attempt: Attempt) -> bool:
    """Whether another attempt of the same step decides the message's status."""
    if attempt.number == state.latest.number or before.status is MessageStatus.SENT:
        return False
    if before.status is MessageStatus.UNCONFIRMED:
        return any(one.is_unconfirmed and one.step == attempt.step for one in state.attempts.values())
    return True


def _leave_step(state: MessageState, failure: Failure | None, *, waits: bool = True) -> Transition:
    if state.has_next:
        onward = replace(state, status=MessageStatus.QUEUED, step=state.furthest + 1, failure=failure)
        return Transition(onward, due_in=_AT_ONCE)
    return _rest(state, failure, waits=waits)


def _rest(state: MessageState, failure: Failure | None, *, waits: bool = True, begin: int | None = None) -> Transition:
    """Nothing more is sent: the best attempt decides the status, which is FAILED only if all attempts failed.

    While one of them is unconfirmed, so is the message, unless `waits` is False.
    """
    tried = sorted(state.attempts.values(), key=lambda one: one.number)
    if taken := [one for one in tried if one.rank == _SENT]:
        return Transition(replace(state, status=MessageStatus.SENT, step=taken[-1].step, failure=None))
    if begin is None:
        # Attempts before the latest retry that are still unconfirmed were given up when the retry was requested.
        begin = max((number for number, one in enumerate(state.route) if one.begins_anew), default=0)
    if unconfirmed := [one for one in tried if waits and one.is_unconfirmed and one.step >= begin]:
        last = unconfirmed[-1]
        unsettled = replace(state, status=MessageStatus.UNCONFIRMED, step=last.step, failure=last.failure)
        return Transition(unsettled, due_in=_AT_ONCE)
    return Transition(replace(state, status=MessageStatus.FAILED, failure=failure))


# ─── Schedules and deadlines ───────────────────────────────────────────────────────


def after_schedule(state: MessageState) -> Transition:
    """Its scheduled time has come."""
    return Transition(replace(state, status=MessageStatus.QUEUED), due_in=_AT_ONCE)


def after_expiry(state: MessageState) -> Transition:
    """Its `expiresIn` is over while no call is under way: what was sent before decides."""
    failure = EXPIRED_ON_THE_WAY if state.may_still_arrive else _expired_after(state.failure)
    return _rest(replace(state, is_expired=True), failure)


def _expired_after(last: Failure | None) -> Failure:
    """Why it was not sent in time: the party of the last failure, if it was tried."""
    if last is None:
        return EXPIRED
    words = f"{EXPIRED.message} The last try: {last.message}"
    return replace(EXPIRED, party=last.party, message=words, provider_code=last.provider_code)


def after_deadline(state: MessageState) -> Transition:
    """Its step's time is over: continue with the next step, even if this one may still be delivered."""
    return Transition(state) if state.is_over else _leave_step(state, None)


# ─── Settling unconfirmed attempts ──────────────────────────────────────────


def keep_waiting(state: MessageState, due_in: timedelta) -> Transition:
    """It is still unconfirmed: look again later."""
    return Transition(state, due_in=due_in)


def send_again(state: MessageState) -> Transition:
    """Send once more on the same channel, though it may arrive twice."""
    return Transition(replace(state, status=MessageStatus.QUEUED, failure=None), due_in=_AT_ONCE)


def move_to_next_step(state: MessageState) -> Transition:
    """Continue on the next channel; later reports about this attempt are still recorded with it."""
    return _leave_step(state, state.failure)


def stop_waiting(state: MessageState) -> Transition:
    """Stop waiting: the step counts as failed."""
    return _leave_step(state, UNKNOWN_AFTER_WAITING, waits=False)


def withdrawn(state: MessageState, number: int, due_in: timedelta) -> Transition:
    """The record in the provider's list that was assigned to an attempt is another message's: it is unconfirmed again.

    This is the only transition that moves a message back, since the rank it had was never its own.
    """
    unknown = replace(
        state.attempts[number],
        outcome=AttemptOutcome.UNCONFIRMED,
        rank=0,
        provider_id=None,
        failure=WRONG_RECORD,
        is_from_list=False,
    )
    after = _with_attempt(state, unknown).state
    best = max(after.attempts.values(), key=lambda one: (one.rank, -one.number))
    if best.rank >= _DELIVERED:
        status = MessageStatus.READ if best.rank >= _READ else MessageStatus.DELIVERED
        return Transition(replace(after, status=status, step=best.step, failure=None))
    rested = (MessageStatus.SENT, MessageStatus.DELIVERED, MessageStatus.READ, MessageStatus.FAILED)
    if state.status not in rested:
        return Transition(after, is_attempt_only=True)
    transition = _rest(after, state.failure, begin=0)
    return replace(transition, due_in=None if transition.due_in is None else due_in)


# ─── Settling by hand ────────────────────────────────────────────────


def settled_as_sent(state: MessageState) -> Transition:
    """An operator decided that the provider accepted it."""
    unconfirmed = [one for one in state.attempts.values() if one.is_unconfirmed]
    if not unconfirmed:
        return Transition(replace(state, status=MessageStatus.SENT, failure=None))
    unsettled = max(unconfirmed, key=lambda one: one.number)
    taken = replace(unsettled, outcome=AttemptOutcome.ACCEPTED, rank=_SENT, failure=None)
    after = _with_attempt(state, taken).state
    return Transition(replace(after, status=MessageStatus.SENT, step=taken.step, failure=None))


def settled_as_failed(state: MessageState) -> Transition:
    """An operator decided that it failed; another attempt that was accepted still counts."""
    return _rest(state, SETTLED_AS_FAILED, waits=False)


# ─── Canceling, erasing, retrying ────────────────────────────────────────────────────


class AttemptLike(Protocol):
    """An attempt, as far as canceling needs it."""

    @property
    def may_have_been_sent(self) -> bool:
        """Whether a provider accepted it, or may have."""
        ...


def can_be_canceled(status: MessageStatus, attempts: Iterable[AttemptLike]) -> bool:
    """Whether nothing of a message was sent: what a provider accepted, or may have, cannot be taken back."""
    return status in CANCELABLE and not any(one.may_have_been_sent for one in attempts)


def canceled(state: MessageState) -> Transition:
    """It was canceled before anything was sent."""
    return Transition(replace(state, status=MessageStatus.CANCELED))


def erased(state: MessageState) -> Transition | None:
    """Its recipient was erased: it is canceled or, if unconfirmed, failed; None where it has ended."""
    if state.status in CANCELABLE:
        return canceled(state)
    if state.status is MessageStatus.UNCONFIRMED:
        return Transition(replace(state, status=MessageStatus.FAILED, failure=ERASED))
    return None


def retried(state: MessageState, route: Sequence[Step]) -> Transition:
    """A retry was requested: its steps are added after the old ones, which keep their numbers."""
    extended = [*state.route, replace(route[0], begins_anew=True), *route[1:]]
    again = replace(state, status=MessageStatus.QUEUED, step=len(state.route), route=extended, failure=None)
    return Transition(again, due_in=_AT_ONCE)
