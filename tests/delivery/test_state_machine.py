"""Everything that can happen to a message, in any order, checked against a model.

The transitions are the real ones (`core/messages/state_machine.py`); everything around them, such as leases and
providers, is a small model.
"""

import os
from dataclasses import replace
from datetime import timedelta

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from core.errors import FailureParty, FailureReason
from core.messages import state_machine
from core.messages.state_machine import Attempt, MessageState, Transition
from core.messages.status import AttemptOutcome, MessageStatus, RouteGoal, Step, UnconfirmedPolicy, make_step
from core.ports import Channel, Failure, ReportedStatus

OFF = Failure(FailureReason.UNREACHABLE, FailureParty.RECIPIENT, "off", "30003")

steps = st.builds(
    make_step,
    st.sampled_from(Channel),
    within=st.sampled_from([None, timedelta(minutes=5)]),
    until=st.sampled_from(RouteGoal),
    on_unconfirmed=st.sampled_from(UnconfirmedPolicy),
)


class MessageMachine(RuleBasedStateMachine):
    """One message, its worker, its settler, its caller and the providers."""

    @initialize(route=st.lists(steps, min_size=1, max_size=3), is_scheduled=st.booleans())
    def accept(self, route: list[Step], is_scheduled: bool) -> None:
        status = MessageStatus.SCHEDULED if is_scheduled else MessageStatus.QUEUED
        self.now = MessageState(status, 0, route, {})
        self.leased: int | None = None
        self.answers: dict[int, AttemptOutcome] = {}
        self.ranks: dict[int, int] = {}
        self.had_proof = False
        self.is_stopped = False
        self.doubt_resends: dict[int, int] = {}
        self.waited_long = False

    def take(self, move: Transition | None) -> None:
        if move is None:
            return
        if not move.is_attempt_only:
            self.leased = None
        self.now = move.state

    # ── the worker ──

    @precondition(lambda self: self.now.status is MessageStatus.SCHEDULED)
    @rule()
    def hour_comes(self) -> None:
        self.take(state_machine.after_schedule(self.now))

    @precondition(
        lambda self: self.now.status is MessageStatus.QUEUED and self.leased is None and not self.now.is_expired
    )
    @rule()
    def claim_and_begin(self) -> None:
        number = len(self.now.attempts) + 1
        # What a provider has accepted is not sent to it once more.
        assert not any(one.rank == 1 and one.step == self.now.step for one in self.now.attempts.values())
        attempt = Attempt(number, self.now.step, AttemptOutcome.IN_FLIGHT)
        self.now = replace(self.now, status=MessageStatus.SENDING, attempts={**self.now.attempts, number: attempt})
        self.leased = number

    @precondition(lambda self: self.leased is not None)
    @rule(
        outcome=st.sampled_from([one for one in AttemptOutcome if one is not AttemptOutcome.IN_FLIGHT]),
        tries=st.booleans(),
    )
    def call_ends(self, outcome: AttemptOutcome, tries: bool) -> None:
        number = self.leased
        assert number is not None
        self.ends(number, outcome, tries)

    def ends(self, number: int, outcome: AttemptOutcome, tries: bool) -> None:
        failure = None if outcome is AttemptOutcome.ACCEPTED else OFF
        ended = Attempt(number, self.now.attempts[number].step, outcome, failure=failure)
        again = timedelta(1) if tries and outcome is AttemptOutcome.UNAVAILABLE else None
        self.answers[number] = outcome
        self.take(state_machine.after_outcome(self.now, ended, retry_in=again, hold=timedelta(minutes=1)))

    @precondition(lambda self: self.leased is not None)
    @rule()
    def worker_dies(self) -> None:
        """The lease runs out after it had begun: the outcome is unknown."""
        number = self.leased
        assert number is not None
        lost = replace(self.now.attempts[number], outcome=AttemptOutcome.UNCONFIRMED)
        self.now = replace(self.now, status=MessageStatus.UNCONFIRMED, attempts={**self.now.attempts, number: lost})
        self.leased = None

    @precondition(lambda self: any(one.outcome is AttemptOutcome.UNCONFIRMED for one in self.now.attempts.values()))
    @rule(outcome=st.sampled_from([AttemptOutcome.ACCEPTED, AttemptOutcome.REJECTED, AttemptOutcome.UNAVAILABLE]))
    def stopped_worker_wakes(self, outcome: AttemptOutcome) -> None:
        """A worker that was taken for dead writes down an answer long after its lease was taken back."""
        number = next(one.number for one in self.now.attempts.values() if one.outcome is AttemptOutcome.UNCONFIRMED)
        self.ends(number, outcome, tries=False)

    # ── time and settling ──

    @precondition(lambda self: self.leased is None and self.now.status in ("QUEUED", "SENT") and self.now.has_next)
    @rule()
    def deadline(self) -> None:
        if self.now.status is MessageStatus.QUEUED or self.now.waits_for_goal:
            self.take(state_machine.after_deadline(self.now))

    @precondition(lambda self: self.leased is None and self.now.status in ("QUEUED", "SCHEDULED"))
    @rule()
    def expiry(self) -> None:
        self.take(state_machine.after_expiry(self.now))
        self.waited_long = False

    @precondition(lambda self: self.now.status is MessageStatus.UNCONFIRMED)
    @rule(is_old=st.booleans())
    def settle(self, is_old: bool) -> None:
        policy = self.now.route[self.now.step].on_unconfirmed
        doubts = sum(
            one.step == self.now.step and one.outcome is AttemptOutcome.UNCONFIRMED
            for one in self.now.attempts.values()
        )
        if is_old:
            self.waited_long = True
            self.take(state_machine.stop_waiting(self.now))
        elif self.now.is_expired:
            self.take(state_machine.keep_waiting(self.now, timedelta(minutes=1)))
        elif policy is UnconfirmedPolicy.RESEND and self.now.latest.is_unconfirmed and doubts < 2:
            self.doubt_resends[self.now.step] = self.doubt_resends.get(self.now.step, 0) + 1
            self.take(state_machine.send_again(self.now))
        elif policy is UnconfirmedPolicy.NEXT_CHANNEL and self.now.has_next:
            self.take(state_machine.move_to_next_step(self.now))
        else:
            self.take(state_machine.keep_waiting(self.now, timedelta(minutes=1)))

    # ── the providers and the caller ──

    @precondition(lambda self: bool(self.now.attempts))
    @rule(data=st.data(), status=st.sampled_from(ReportedStatus))
    def report(self, data: st.DataObject, status: ReportedStatus) -> None:
        number = data.draw(st.sampled_from(sorted(self.now.attempts)))
        failure = OFF if status is ReportedStatus.FAILED else None
        self.take(state_machine.after_report(self.now, number, status, failure))
        self.had_proof = self.had_proof or status.rank >= ReportedStatus.DELIVERED.rank

    @precondition(lambda self: self.now.status in ("SCHEDULED", "QUEUED") and self.leased is None)
    @rule()
    def cancel(self) -> None:
        if not any(one.may_have_been_sent for one in self.now.attempts.values()):
            self.take(state_machine.canceled(self.now))
            self.is_stopped = True

    @precondition(lambda self: self.now.status is MessageStatus.FAILED and len(self.now.route) < 8)
    @rule(route=st.lists(steps, min_size=1, max_size=2))
    def retry(self, route: list[Step]) -> None:
        # It has as much time again.
        self.take(state_machine.retried(replace(self.now, is_expired=False), route))
        self.is_stopped = False
        self.waited_long = False

    # ── people who know more ──

    @precondition(lambda self: self.now.status is MessageStatus.UNCONFIRMED)
    @rule(is_sent=st.booleans())
    def settled_by_hand(self, is_sent: bool) -> None:
        if is_sent:
            before = set(self.now.attempts.items())
            self.take(state_machine.settled_as_sent(self.now))
            assert self.now.status is MessageStatus.SENT
            # A worker that was taken for dead and wakes is overruled by what is known since.
            assert len(set(self.now.attempts.items()) - before) == 1
        else:
            self.take(state_machine.settled_as_failed(self.now))
            self.waited_long = True

    @precondition(lambda self: any(one.rank for one in self.now.attempts.values()) and not self.had_proof)
    @rule(data=st.data())
    def list_was_wrong(self, data: st.DataObject) -> None:
        """What an attempt was thought to have reached was another message's."""
        numbers = [one.number for one in self.now.attempts.values() if one.rank and one.number != self.leased]
        if not numbers:
            return
        number = data.draw(st.sampled_from(numbers))
        self.ranks[number] = 0
        self.waited_long = False
        self.take(state_machine.withdrawn(self.now, number, timedelta(minutes=1)))

    @rule()
    def nothing_happens(self) -> None:
        """There are states from which nothing leads on."""

    # ── what must hold ──

    @invariant()
    def no_rank_falls(self) -> None:
        for number, attempt in self.now.attempts.items():
            assert attempt.rank >= self.ranks.get(number, 0)
            self.ranks[number] = attempt.rank

    @invariant()
    def proof_of_delivery_is_never_lost(self) -> None:
        if self.had_proof:
            assert self.now.status in (MessageStatus.DELIVERED, MessageStatus.READ)

    @invariant()
    def delivered_needs_proof(self) -> None:
        if self.now.status in (MessageStatus.DELIVERED, MessageStatus.READ):
            assert self.had_proof

    @invariant()
    def a_step_names_a_channel_of_the_route(self) -> None:
        assert 0 <= self.now.step < len(self.now.route)
        assert all(one.step < len(self.now.route) for one in self.now.attempts.values())

    @invariant()
    def nothing_in_doubt_is_claimable_unless_its_route_says_so(self) -> None:
        """Sends of a step that may have left are one, and one more for each time its route asked for another."""
        for number in range(len(self.now.route)):
            left = [
                one
                for one in self.now.attempts.values()
                if one.step == number and self.answers.get(one.number) is not AttemptOutcome.UNAVAILABLE
            ]
            assert len(left) <= 1 + self.doubt_resends.get(number, 0)

    @invariant()
    def failed_only_at_the_end_of_the_route(self) -> None:
        by_hand = self.now.failure == state_machine.SETTLED_AS_FAILED
        if self.now.status is MessageStatus.FAILED and not self.now.is_expired and not by_hand:
            assert not self.now.has_next

    @invariant()
    def failed_only_where_nobody_has_it(self) -> None:
        if self.now.status is MessageStatus.FAILED:
            assert all(one.rank != ReportedStatus.SENT.rank for one in self.now.attempts.values())

    @invariant()
    def failed_only_where_nothing_is_in_doubt_or_it_was_waited_for(self) -> None:
        begin = max((number for number, one in enumerate(self.now.route) if one.begins_anew), default=0)
        open_ones = [one for one in self.now.attempts.values() if one.is_unconfirmed and one.step >= begin]
        if self.now.status is MessageStatus.FAILED and not self.waited_long:
            assert not open_ones

    @invariant()
    def sent_and_unconfirmed_have_their_reason(self) -> None:
        tried = self.now.attempts.values()
        if self.now.status is MessageStatus.SENT:
            assert any(one.rank == ReportedStatus.SENT.rank and one.step == self.now.step for one in tried)
        if self.now.status is MessageStatus.UNCONFIRMED:
            assert any(one.is_unconfirmed and one.step == self.now.step for one in tried)

    @invariant()
    def what_has_expired_is_not_sent(self) -> None:
        if self.now.is_expired:
            assert self.now.status is not MessageStatus.SENDING

    @invariant()
    def what_was_stopped_never_goes_on(self) -> None:
        if self.is_stopped:
            assert self.now.status not in (MessageStatus.QUEUED, MessageStatus.SENDING, MessageStatus.UNCONFIRMED)


MessageMachine.TestCase.settings = settings(
    max_examples=int(os.environ.get("MACHINE_EXAMPLES", "80")), stateful_step_count=50, deadline=None
)
TestMessageMachine = MessageMachine.TestCase
