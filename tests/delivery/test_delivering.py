"""Delivery over a real database: claimed once, begun before the call, recorded whatever the outcome."""

import asyncio
from datetime import timedelta
from itertools import cycle
from uuid import UUID

import pytest
from sqlalchemy import text

from core import backoff
from core.backoff import LONGEST_PAUSE, retry_in, tries_of
from core.errors import (
    FailureParty,
    FailureReason,
    OutcomeUnknown,
    Overloaded,
    ProviderError,
    ProviderMisconfigured,
    ProviderRejected,
    ProviderUnavailable,
)
from core.messages.claim import Timing, begin, claim
from core.messages.delivery import ChannelDelivery
from core.messages.sending import LONGEST_RATE_LIMITED_PAUSE
from core.messages.timeouts import reclaim_expired_leases
from core.ports import Channel, OutboundMessage, Receipt, TextContent
from tests.delivery.pipeline import FakeSender, MessagePipeline
from tests.helpers import until

TIMING = Timing()

REFUSED = ProviderRejected(
    "There is no such number.",
    provider="twilio",
    provider_code="21211",
    reason=FailureReason.INVALID_RECIPIENT,
    party=FailureParty.RECIPIENT,
)
AWAY = ProviderUnavailable("Twilio is away.", provider="twilio")
UNKNOWN = OutcomeUnknown("The line broke.", provider="twilio")


def failing(error: ProviderError) -> object:
    def answer(_: OutboundMessage) -> Receipt:
        raise error

    return answer


async def test_a_due_message_is_sent_once_with_its_content_and_reference(pipeline: MessagePipeline) -> None:
    message_id = await pipeline.accept("+5511987654321", "Olá, Ana!")
    await pipeline.delivery.drain()
    await pipeline.delivery.drain()
    [sent] = pipeline.sender.sent
    assert (sent.to, sent.content, sent.reference.message_id) == (
        "+5511987654321",
        TextContent("Olá, Ana!"),
        message_id,
    )
    assert await pipeline.statuses(message_id) == ["QUEUED", "SENDING", "SENT"]
    [attempt] = await pipeline.attempts(message_id)
    assert (attempt.number, attempt.outcome, attempt.provider_message_id) == (1, "ACCEPTED", f"SM{message_id.hex}")
    assert attempt.duration_ms is not None


async def test_an_attempt_is_as_long_as_its_call_however_late_it_is_written_down(pipeline: MessagePipeline) -> None:
    pipeline.sender.gate.clear()
    message_id = await pipeline.accept()
    draining = asyncio.create_task(pipeline.delivery.drain())
    await until(lambda: asyncio.sleep(0, pipeline.sender.sent), bool)
    await pipeline.tamper("UPDATE attempts SET started_at = started_at - interval '1 hour'")
    pipeline.sender.gate.set()
    await draining
    [attempt] = await pipeline.attempts(message_id)
    assert attempt.duration_ms is not None
    assert attempt.duration_ms < 60_000


async def test_many_messages_are_each_sent_once_by_two_deliveries(pipeline: MessagePipeline) -> None:
    ids = {await pipeline.accept(body=str(number)) for number in range(60)}
    other = ChannelDelivery(
        Channel.SMS,
        "twilio",
        pipeline.sender,
        pipeline.worker,
        pipeline.sealer,
        pipeline.hub,
        "second-worker",
        in_flight=7,
    )
    await asyncio.gather(pipeline.delivery.drain(), other.drain())
    assert len(pipeline.sender.sent) == 60
    assert {message.reference.message_id for message in pipeline.sender.sent} == ids


async def test_a_message_is_marked_as_begun_before_it_leaves(pipeline: MessagePipeline) -> None:
    pipeline.sender.gate.clear()
    message_id = await pipeline.accept()
    draining = asyncio.create_task(pipeline.delivery.drain())
    await until(lambda: asyncio.sleep(0, pipeline.sender.sent), bool)
    assert await pipeline.status(message_id) == "SENDING"
    [attempt] = await pipeline.attempts(message_id)
    assert (attempt.outcome, attempt.duration_ms) == ("IN_FLIGHT", None)
    pipeline.sender.gate.set()
    await draining
    assert await pipeline.status(message_id) == "SENT"


async def test_what_is_refused_fails_with_reason_and_party(pipeline: MessagePipeline) -> None:
    pipeline.sender.answer = failing(REFUSED)
    message_id = await pipeline.accept()
    await pipeline.delivery.drain()
    message = await pipeline.message(message_id)
    assert message.status == "FAILED"
    assert message.failure is not None
    assert (message.failure.provider_code, message.failure.party) == ("21211", "RECIPIENT")
    assert message.next_attempt_at is None


@pytest.mark.parametrize("error", [AWAY, ProviderMisconfigured("They refuse us.", provider="twilio")])
async def test_what_was_surely_not_done_is_tried_again_and_then_sent(
    pipeline: MessagePipeline, error: ProviderError, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The shortest pauses are shorter than a drain: here it is to be the longest.
    monkeypatch.setattr(backoff.random, "uniform", lambda least, most: most)
    pipeline.sender.answer = failing(error)
    message_id = await pipeline.accept()
    await pipeline.delivery.drain()
    message = await pipeline.message(message_id)
    assert message.status == "QUEUED"
    assert message.next_attempt_at is not None
    pipeline.sender.answer = FakeSender().answer
    await pipeline.tamper("UPDATE messages SET due_at = now()")
    await pipeline.delivery.drain()
    assert await pipeline.statuses(message_id) == ["QUEUED", "SENDING", "QUEUED", "SENDING", "SENT"]
    assert [attempt.outcome for attempt in await pipeline.attempts(message_id)] == ["UNAVAILABLE", "ACCEPTED"]
    assert (await pipeline.message(message_id)).failure is None


SLOWED = ProviderUnavailable("Slow down.", provider="twilio", reason=FailureReason.RATE_LIMITED)


async def tried_for(pipeline: MessagePipeline, at_least: timedelta, *errors: ProviderError) -> tuple[UUID, timedelta]:
    """A message that fails with these errors in turn until its own pauses add up to `at_least`; then it is accepted.

    Gives the message, and what its pauses add up to.
    """
    waited, turn = timedelta(0), cycle(errors)

    def answer(message: OutboundMessage) -> Receipt:
        if waited >= at_least:
            return Receipt(f"SM{message.reference.message_id.hex}")
        raise next(turn)

    pipeline.sender.answer = answer
    message_id = await pipeline.accept()
    await pipeline.delivery.drain()
    while await pipeline.status(message_id) == "QUEUED":
        async with pipeline.worker.transaction() as connection:
            chosen = text("SELECT due_at - updated_at FROM messages WHERE id = :id")
            waited += (await connection.execute(chosen, {"id": message_id})).scalar_one()
        await pipeline.tamper("UPDATE messages SET due_at = now() WHERE id = :id", id=message_id)
        await pipeline.delivery.drain()
    return message_id, waited


@pytest.mark.parametrize("hours", [0.1, 1, 4])
async def test_an_outage_as_long_as_a_channel_is_tried_for_loses_nothing_however_short_the_pauses_are(
    pipeline: MessagePipeline, monkeypatch: pytest.MonkeyPatch, hours: float
) -> None:
    monkeypatch.setattr(backoff.random, "uniform", lambda least, most: least)
    retry_for = timedelta(hours=hours)
    pipeline.delivery.timing = Timing(retry_for=retry_for)
    for errors in ([AWAY], [SLOWED], [AWAY, SLOWED]):
        message_id, _ = await tried_for(pipeline, retry_for, *errors)
        assert await pipeline.status(message_id) == "SENT", errors


async def test_tries_end(pipeline: MessagePipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backoff.random, "uniform", lambda least, most: most)
    retry_for = timedelta(hours=1)
    message_id, waited = await tried_for(pipeline, timedelta(days=9), AWAY)
    assert await pipeline.status(message_id) == "FAILED"
    assert len(pipeline.sender.sent) == tries_of(retry_for)
    assert retry_for <= waited <= 2 * retry_for + LONGEST_PAUSE


def test_the_provider_decides_the_retry_time_within_an_hour() -> None:
    hour = timedelta(hours=1)
    for tries in range(1, tries_of(hour)):
        wait = retry_in(tries, 120, retry_for=hour)
        assert wait is not None
        assert wait.total_seconds() >= 120
    for absurd in (1e9, 1e300, float("inf")):
        assert retry_in(1, absurd, retry_for=hour) == timedelta(hours=1)
    assert retry_in(tries_of(hour), None, retry_for=hour) is None


def test_even_the_shortest_run_of_tries_is_as_long_as_documented() -> None:
    for hours in (0.1, 0.5, 1, 4, 24, 72):
        retry_for = timedelta(hours=hours)
        for longest in (LONGEST_PAUSE, LONGEST_RATE_LIMITED_PAUSE):
            pauses: list[timedelta] = []
            while (pause := retry_in(len(pauses) + 1, None, retry_for=retry_for, longest=longest)) is not None:
                pauses.append(pause)
            assert len(pauses) + 1 == tries_of(retry_for, longest)
            assert retry_for <= sum(pauses, timedelta(0)) <= 2 * (retry_for + longest)
            assert max(pauses) <= longest
    # What the documentation names: docs/explanation/delivery.md.
    assert (tries_of(timedelta(hours=1)), tries_of(timedelta(hours=4))) == (17, 41)


async def test_an_unknown_outcome_is_unconfirmed_and_never_sent_again(pipeline: MessagePipeline) -> None:
    pipeline.sender.answer = failing(UNKNOWN)
    message_id = await pipeline.accept()
    await pipeline.delivery.drain()
    await pipeline.tamper("UPDATE messages SET due_at = now() - interval '1 day' WHERE due_at IS NOT NULL")
    await pipeline.delivery.drain()
    assert await pipeline.status(message_id) == "UNCONFIRMED"
    assert len(pipeline.sender.sent) == 1


async def test_a_bug_in_an_adapter_counts_as_an_unknown_outcome_and_affects_no_other_message(
    pipeline: MessagePipeline,
) -> None:
    def answer(message: OutboundMessage) -> Receipt:
        if message.to == "+5511987654329":
            raise KeyError("sid")
        return Receipt("SM1")

    pipeline.sender.answer = answer
    poison = await pipeline.accept("+5511987654329")
    others = [await pipeline.accept(body=str(number)) for number in range(5)]
    await pipeline.delivery.drain()
    assert await pipeline.status(poison) == "UNCONFIRMED"
    assert {await pipeline.status(one) for one in others} == {"SENT"}


async def test_a_call_canceled_from_inside_is_an_unknown_outcome_and_stops_no_other(pipeline: MessagePipeline) -> None:
    def answer(message: OutboundMessage) -> Receipt:
        raise asyncio.CancelledError

    pipeline.sender.answer = answer
    message_id = await pipeline.accept()
    await pipeline.delivery.drain()
    assert await pipeline.status(message_id) == "UNCONFIRMED"


async def test_an_unreadable_message_waits_and_affects_no_other(pipeline: MessagePipeline) -> None:
    poison = await pipeline.accept()
    await pipeline.tamper("UPDATE messages SET content_sealed = to_sealed")
    other = await pipeline.accept()
    await pipeline.delivery.drain()
    assert (await pipeline.status(other), len(pipeline.sender.sent)) == ("SENT", 1)
    async with pipeline.worker.transaction() as connection:
        row = (await connection.exec_driver_sql(f"SELECT * FROM messages WHERE id = '{poison}'")).one()
    assert (row.status, row.failure, row.attempt_count) == ("QUEUED", None, 0)


async def test_a_dead_workers_unbegun_claim_goes_back_and_is_sent(pipeline: MessagePipeline) -> None:
    message_id = await pipeline.accept()
    async with pipeline.worker.transaction() as connection:
        assert len(await claim(connection, Channel.SMS, "twilio", worker="dead", limit=10, timing=TIMING)) == 1
    await pipeline.delivery.drain()
    assert pipeline.sender.sent == []
    await expire_leases(pipeline)
    assert await pipeline.attempts(message_id) == []
    await pipeline.delivery.drain()
    assert await pipeline.statuses(message_id) == ["QUEUED", "SENDING", "SENT"]
    assert [message.reference.attempt for message in pipeline.sender.sent] == [1]


async def test_what_a_dead_worker_had_begun_is_unconfirmed_and_not_sent_again(pipeline: MessagePipeline) -> None:
    message_id = await pipeline.accept()
    async with pipeline.worker.transaction() as connection:
        claimed = await claim(connection, Channel.SMS, "twilio", worker="dead", limit=10, timing=TIMING)
    async with pipeline.worker.transaction() as connection:
        await begin(connection, claimed, TIMING)
    await expire_leases(pipeline)
    await pipeline.delivery.drain()
    assert pipeline.sender.sent == []
    message = await pipeline.message(message_id)
    assert (message.status, message.failure and message.failure.party) == ("UNCONFIRMED", "OPERATOR")
    [attempt] = await pipeline.attempts(message_id)
    # Its end was not observed, so its duration is unknown.
    assert (attempt.outcome, attempt.duration_ms) == ("UNCONFIRMED", None)


async def test_a_worker_that_lost_its_lease_cannot_begin(pipeline: MessagePipeline) -> None:
    await pipeline.accept()
    async with pipeline.worker.transaction() as connection:
        claimed = await claim(connection, Channel.SMS, "twilio", worker="slow", limit=10, timing=TIMING)
    await expire_leases(pipeline)
    async with pipeline.worker.transaction() as connection:
        assert await begin(connection, claimed, TIMING) == set()


async def test_a_claim_too_old_to_finish_in_time_is_not_begun(pipeline: MessagePipeline) -> None:
    await pipeline.accept()
    async with pipeline.worker.transaction() as connection:
        claimed = await claim(connection, Channel.SMS, "twilio", worker="slow", limit=10, timing=TIMING)
    await pipeline.tamper("UPDATE messages SET lease_until = now() + interval '10 seconds'")
    async with pipeline.worker.transaction() as connection:
        assert await begin(connection, claimed, TIMING) == set()


async def test_a_slow_workers_late_answer_still_settles_what_was_given_up(pipeline: MessagePipeline) -> None:
    pipeline.sender.gate.clear()
    message_id = await pipeline.accept()
    draining = asyncio.create_task(pipeline.delivery.drain())
    await until(lambda: asyncio.sleep(0, pipeline.sender.sent), bool)
    await expire_leases(pipeline)
    assert await pipeline.status(message_id) == "UNCONFIRMED"
    pipeline.sender.gate.set()
    await draining
    assert await pipeline.statuses(message_id) == ["QUEUED", "SENDING", "UNCONFIRMED", "SENT"]


async def test_outcomes_are_kept_when_the_database_was_away_for_a_moment(
    pipeline: MessagePipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    message_id = await pipeline.accept()
    record, failures = ChannelDelivery._record, []

    async def fail_once(self: ChannelDelivery, ended: list[object]) -> None:
        if not failures:
            failures.append(True)
            raise Overloaded("The database went away.", retry_after=1)
        await record(self, ended)  # type: ignore[arg-type]

    monkeypatch.setattr(ChannelDelivery, "_record", fail_once)
    with pytest.raises(Overloaded):
        await pipeline.delivery.drain()
    await pipeline.delivery.drain()
    assert await pipeline.status(message_id) == "SENT"
    assert len(pipeline.sender.sent) == 1


async def test_a_stopped_delivery_finishes_what_it_has_and_claims_no_more(pipeline: MessagePipeline) -> None:
    pipeline.sender.gate.clear()
    first = await pipeline.accept()
    draining = asyncio.create_task(pipeline.delivery.drain())
    await until(lambda: asyncio.sleep(0, pipeline.sender.sent), bool)
    pipeline.delivery.stop()
    second = await pipeline.accept()
    pipeline.sender.gate.set()
    await draining
    resting = asyncio.create_task(pipeline.delivery.rest(60))
    await asyncio.wait_for(pipeline.delivery.ended.wait(), 5)
    resting.cancel()
    assert (await pipeline.status(first), await pipeline.status(second)) == ("SENT", "QUEUED")


async def expire_leases(pipeline: MessagePipeline) -> None:
    await pipeline.tamper("UPDATE messages SET lease_until = now() - interval '1 second' WHERE lease_until IS NOT NULL")
    async with pipeline.worker.transaction() as connection:
        await reclaim_expired_leases(connection, hold=TIMING.hold)
