"""The outcome of each step of a route, and what the caller can still do."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from uuid import uuid4

import pytest

from core.messages.queries import AttemptView, Message, can_cancel, can_retry, step_outcomes
from core.messages.status import MOST_STEPS, AttemptOutcome, Direction, MessageStatus, RouteGoal, Step, make_step
from core.ports import Channel

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
WHATSAPP, SMS, EMAIL = make_step(Channel.WHATSAPP), make_step(Channel.SMS), make_step(Channel.EMAIL)
TAKEN_IS_ENOUGH = make_step(Channel.SMS, until=RouteGoal.SENT)
SENT, FAILED, DELIVERED, READ = 1, 2, 3, 4


def message(status: str, at: int = 0, route: Sequence[Step] = (WHATSAPP, SMS), direction: str = "OUTBOUND") -> Message:
    return Message(
        uuid4(),
        Direction(direction),
        MessageStatus(status),
        route[at].channel,
        route,
        at,
        *("+55 11 9••••-4321", None, None, None, None, None, None, NOW, NOW, None, None, None),
    )


def attempt(of: int, rank: int = 0, outcome: str = "ACCEPTED") -> AttemptView:
    channel = (WHATSAPP, SMS)[of].channel
    return AttemptView(
        uuid4(), 1, channel, "twilio", AttemptOutcome(outcome), None, None, None, NOW, 1.0, step=of, rank=rank
    )


TOLD = {
    "it has just been accepted": (message("QUEUED"), [], "TRYING WAITING"),
    "it waits for its hour": (message("SCHEDULED"), [], "WAITING WAITING"),
    "it is being sent": (message("SENDING"), [attempt(0, outcome="IN_FLIGHT")], "TRYING WAITING"),
    "it was taken and not delivered yet": (message("SENT"), [attempt(0, SENT)], "TRYING WAITING"),
    "it was taken, which is enough": (
        message("SENT", 0, (TAKEN_IS_ENOUGH, EMAIL)),
        [attempt(0, SENT)],
        "DELIVERED SKIPPED",
    ),
    "nobody knows": (message("UNCONFIRMED"), [attempt(0, outcome="UNCONFIRMED")], "UNCONFIRMED WAITING"),
    "it was delivered at once": (message("DELIVERED"), [attempt(0, DELIVERED)], "DELIVERED SKIPPED"),
    "it was read": (message("READ"), [attempt(0, READ)], "DELIVERED SKIPPED"),
    "the first step failed and the second is under way": (message("QUEUED", 1), [attempt(0, FAILED)], "FAILED TRYING"),
    "the first step was left in doubt": (
        message("SENT", 1),
        [attempt(0, outcome="UNCONFIRMED"), attempt(1, SENT)],
        "UNCONFIRMED TRYING",
    ),
    "the second step delivered": (
        message("DELIVERED", 1),
        [attempt(0, SENT), attempt(1, DELIVERED)],
        "FAILED DELIVERED",
    ),
    "the first step delivered late, after all": (
        message("DELIVERED", 0),
        [attempt(0, DELIVERED), attempt(1, SENT)],
        "DELIVERED SKIPPED",
    ),
    "both delivered": (message("READ", 1), [attempt(0, DELIVERED), attempt(1, READ)], "DELIVERED DELIVERED"),
    "everything failed": (message("FAILED", 1), [attempt(0, FAILED), attempt(1, FAILED)], "FAILED FAILED"),
    "it expired before its first step": (message("FAILED"), [], "FAILED SKIPPED"),
    "somebody stopped it": (message("CANCELED"), [], "SKIPPED SKIPPED"),
    "somebody wrote to us": (message("DELIVERED", 0, (SMS,), "INBOUND"), [], "DELIVERED"),
    "a failure is not more than being taken": (
        message("FAILED", 0, (TAKEN_IS_ENOUGH,)),
        [attempt(0, FAILED)],
        "FAILED",
    ),
}


@pytest.mark.parametrize("case", TOLD)
def test_each_step_shows_its_outcome(case: str) -> None:
    given, attempts, expected = TOLD[case]
    assert " ".join(step_outcomes(given, attempts)) == expected


@pytest.mark.parametrize("status", MessageStatus)
def test_only_what_waits_can_be_stopped_and_only_what_failed_tried_again(status: MessageStatus) -> None:
    given = message(status)
    assert can_cancel(given, []) is (status in ("SCHEDULED", "QUEUED"))
    assert can_retry(given) is (status == "FAILED")


@pytest.mark.parametrize(
    ("tried", "expected"),
    [
        (attempt(0, outcome="REJECTED"), True),
        (attempt(0, outcome="UNAVAILABLE"), True),
        (attempt(0, outcome="UNCONFIRMED"), False),
        (attempt(0, SENT), False),
        (attempt(0, FAILED), False),
    ],
)
def test_what_has_left_perhaps_cannot_be_stopped(tried: AttemptView, expected: bool) -> None:
    assert can_cancel(message("QUEUED"), [tried]) is expected


def test_a_route_that_can_grow_no_longer_is_not_tried_again() -> None:
    rounds = [replace(make_step(Channel.SMS), begins_anew=number > 0) for number in range(MOST_STEPS)]
    assert can_retry(replace(message("FAILED"), route=rounds[:-1]))
    assert not can_retry(replace(message("FAILED"), route=rounds))


def test_what_was_written_to_us_can_be_neither_stopped_nor_repeated() -> None:
    assert not can_cancel(message("QUEUED", direction="INBOUND"), [])
    assert not can_retry(message("FAILED", direction="INBOUND"))
