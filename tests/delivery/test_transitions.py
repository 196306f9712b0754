"""Status transitions as a property: in any order of reports, no proof of delivery is lost or undone."""

from dataclasses import replace
from datetime import timedelta
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import FailureParty, FailureReason
from core.messages.state_machine import Attempt, MessageState, after_outcome, after_report
from core.messages.status import AttemptOutcome, MessageStatus, make_step
from core.ports import Channel, Failure, ReportedStatus

FAILURE = Failure(FailureReason.UNREACHABLE, FailureParty.RECIPIENT, "off", "30003")
BOTH = [make_step(Channel.WHATSAPP), make_step(Channel.SMS)]
RANK = {"QUEUED": 0, "SENDING": 0, "UNCONFIRMED": 0, "SENT": 1, "FAILED": 2, "DELIVERED": 3, "READ": 4}

reports = st.lists(st.sampled_from(list(ReportedStatus)), max_size=6)


def sending(*channels: str) -> MessageState:
    attempt = Attempt(1, 0, AttemptOutcome.IN_FLIGHT)
    return MessageState(
        MessageStatus.SENDING, 0, [make_step(Channel(one)) for one in channels or ("SMS",)], {1: attempt}
    )


def report(state: MessageState, status: ReportedStatus, number: int = 1) -> MessageState:
    move = after_report(state, number, status, FAILURE if status is ReportedStatus.FAILED else None)
    return state if move is None else move.state


def end(state: MessageState, outcome: AttemptOutcome, retry_in: timedelta | None = None) -> MessageState:
    attempt = Attempt(1, 0, outcome, failure=None if outcome is AttemptOutcome.ACCEPTED else FAILURE)
    return after_outcome(state, attempt, retry_in=retry_in).state


@given(reports, st.randoms())
def test_any_order_of_the_same_reports_ends_alike(statuses: list[ReportedStatus], random: object) -> None:
    shuffled = sorted(statuses, key=lambda _: random.random())  # type: ignore[attr-defined]
    ends = []
    for order in (statuses, shuffled):
        state = end(sending(), AttemptOutcome.ACCEPTED)
        for status in order:
            state = report(state, status)
        ends.append((state.status, state.attempts[1].rank))
    assert ends[0] == ends[1]


@given(reports)
def test_no_report_lowers_what_is_known(statuses: list[ReportedStatus]) -> None:
    state = sending()
    for status in statuses:
        before = state
        state = report(state, status)
        assert state.attempts[1].rank >= before.attempts[1].rank
        assert RANK[state.status] >= RANK[before.status]


@given(reports, st.integers(0, 6), st.sampled_from([one for one in AttemptOutcome if one != "IN_FLIGHT"]))
def test_the_answer_of_the_call_may_come_at_any_time(
    statuses: list[ReportedStatus], at: int, outcome: AttemptOutcome
) -> None:
    state = sending()
    for position, status in enumerate([*statuses, None]):
        if position == min(at, len(statuses)):
            state = end(state, outcome, timedelta(1) if outcome is AttemptOutcome.UNAVAILABLE else None)
        if status is not None:
            state = report(state, status)
    highest = max((status.rank for status in statuses), default=0)
    if highest >= 3:
        assert state.status == ("READ" if highest == 4 else "DELIVERED")
    elif highest == 2:
        assert state.status == "FAILED"
    elif highest == 1 or outcome is AttemptOutcome.ACCEPTED:
        assert state.status == "SENT"


def test_every_order_of_every_report_and_the_answer_ends_in_read() -> None:
    for order in permutations([*ReportedStatus, None]):
        state = sending()
        for status in order:
            state = report(state, status) if status else end(state, AttemptOutcome.ACCEPTED)
        assert state.status == "READ"


def test_unavailable_waits_for_its_next_attempt() -> None:
    attempt = Attempt(1, 0, AttemptOutcome.UNAVAILABLE, failure=FAILURE)
    move = after_outcome(sending(), attempt, retry_in=timedelta(seconds=3))
    assert (move.state.status, move.due_in) == ("QUEUED", timedelta(seconds=3))
    assert after_outcome(sending(), attempt, retry_in=None).state.status == "FAILED"


def test_a_report_of_sending_ends_the_wait_for_another_attempt() -> None:
    waiting = after_outcome(sending(), Attempt(1, 0, AttemptOutcome.UNAVAILABLE), retry_in=timedelta(1)).state
    move = after_report(waiting, 1, ReportedStatus.SENT)
    assert move is not None
    assert (move.state.status, move.due_in, move.is_attempt_only) == ("SENT", None, False)


def test_an_unknown_outcome_is_no_reason_to_send_again() -> None:
    hold = timedelta(minutes=1)
    move = after_outcome(sending("SMS", "WHATSAPP"), Attempt(1, 0, AttemptOutcome.UNCONFIRMED), hold=hold)
    assert (move.state.status, move.due_in, move.state.step) == ("UNCONFIRMED", hold, 0)


@pytest.mark.parametrize("status", ReportedStatus)
def test_any_report_settles_an_unconfirmed_message(status: ReportedStatus) -> None:
    unconfirmed = end(sending(), AttemptOutcome.UNCONFIRMED)
    assert report(unconfirmed, status).status == status.value


def test_a_refusal_goes_on_to_the_next_channel_and_the_last_one_fails() -> None:
    move = after_outcome(sending("WHATSAPP", "SMS"), Attempt(1, 0, AttemptOutcome.REJECTED, failure=FAILURE))
    assert (move.state.status, move.state.step, move.due_in) == ("QUEUED", 1, timedelta(0))
    second = MessageState(
        MessageStatus.SENDING,
        1,
        BOTH,
        {**move.state.attempts, 2: Attempt(2, 1, AttemptOutcome.IN_FLIGHT)},
    )
    ended = after_outcome(second, Attempt(2, 1, AttemptOutcome.REJECTED, failure=FAILURE)).state
    assert (ended.status, ended.failure) == ("FAILED", FAILURE)


def test_late_proof_of_an_earlier_channel_wins_over_a_later_one() -> None:
    attempts = {1: Attempt(1, 0, AttemptOutcome.REJECTED), 2: Attempt(2, 1, AttemptOutcome.IN_FLIGHT)}
    state = MessageState(MessageStatus.SENDING, 1, BOTH, attempts)
    move = after_report(state, 1, ReportedStatus.DELIVERED)
    assert move is not None
    assert (move.state.status, move.state.step, move.is_attempt_only) == ("DELIVERED", 0, False)


def test_late_failure_of_an_earlier_channel_leaves_the_later_one_alone() -> None:
    attempts = {1: Attempt(1, 0, AttemptOutcome.UNCONFIRMED), 2: Attempt(2, 1, AttemptOutcome.IN_FLIGHT)}
    state = MessageState(MessageStatus.SENDING, 1, BOTH, attempts)
    move = after_report(state, 1, ReportedStatus.FAILED, FAILURE)
    assert move is not None
    assert move.is_attempt_only
    assert move.state.status == "SENDING"


def test_a_late_answer_of_an_old_attempt_does_not_queue_the_message_again() -> None:
    attempts = {1: Attempt(1, 0, AttemptOutcome.UNCONFIRMED), 2: Attempt(2, 0, AttemptOutcome.IN_FLIGHT)}
    state = MessageState(MessageStatus.SENDING, 0, [make_step(Channel.SMS)], attempts)
    move = after_outcome(state, Attempt(1, 0, AttemptOutcome.UNAVAILABLE), retry_in=timedelta(1))
    assert move.is_attempt_only
    assert move.due_in is None


@pytest.mark.parametrize("order", [(1, 2), (2, 1)])
def test_of_two_channels_that_delivered_the_first_one_served(order: tuple[int, int]) -> None:
    attempts = {number: Attempt(number, number - 1, AttemptOutcome.ACCEPTED, rank=1) for number in order}
    state = MessageState(MessageStatus.SENT, 1, BOTH, attempts)
    for number in order:
        state = report(state, ReportedStatus.DELIVERED, number)
    assert (state.status, state.step) == ("DELIVERED", 0)
    # Later notes change nothing of that, in any order of attempts.
    state = replace(state, attempts=dict(reversed(state.attempts.items())))
    assert end(state, AttemptOutcome.ACCEPTED).step == 0
