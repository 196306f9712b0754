"""Effects of time: schedules, expiry, a step's deadline, and the order when much is due."""

from collections.abc import Sequence

import asyncpg
import pytest

from core.errors import ProviderUnavailable
from core.messages.claim import Timing, begin, claim, release
from core.messages.status import RouteGoal, make_step
from core.messages.validation import Draft
from core.ports import Channel, OutboundMessage, Receipt, ReportedStatus, StatusReport, TextContent
from core.providers.rate_limiter import Unlimited
from tests.databases import Urls
from tests.delivery.factories import FIVE_MINUTES, OTHER_TENANT, SMS_THEN_WHATSAPP, accepted_message
from tests.delivery.pipeline import MessagePipeline


def away(_: OutboundMessage) -> Receipt:
    raise ProviderUnavailable("away", provider="twilio")


async def test_a_scheduled_message_waits_for_its_hour(pipeline: MessagePipeline) -> None:
    message_id = await pipeline.accept()
    await pipeline.tamper("UPDATE messages SET status = 'SCHEDULED', due_at = now() + interval '1 hour'")
    await pipeline.sweep()
    await pipeline.delivery.drain()
    assert await pipeline.status(message_id) == "SCHEDULED"
    await pipeline.tamper("UPDATE messages SET due_at = now()")
    await pipeline.sweep()
    await pipeline.delivery.drain()
    assert await pipeline.statuses(message_id) == ["QUEUED", "QUEUED", "SENDING", "SENT"]


@pytest.mark.parametrize("limit", ["expires_at", "step_until"])
async def test_what_runs_out_of_time_after_it_was_claimed_is_not_begun(pipeline: MessagePipeline, limit: str) -> None:
    await pipeline.accept()
    async with pipeline.worker.transaction() as connection:
        claimed = await claim(connection, Channel.SMS, "twilio", worker="slow", limit=1, timing=Timing())
    await pipeline.tamper(f"UPDATE messages SET {limit} = now()")
    async with pipeline.worker.transaction() as connection:
        assert await begin(connection, claimed, Timing()) == set()


async def test_what_ran_out_of_time_in_a_slow_worker_s_hands_is_let_go_at_once(pipeline: MessagePipeline) -> None:
    class Slow(Unlimited):
        paces_recipients = True

        async def admit(self, recipients: Sequence[bytes]) -> list[float]:
            await pipeline.tamper("UPDATE messages SET expires_at = now()")
            return [0.0] * len(recipients)

    pipeline.delivery.rate_limiter = Slow()
    message_id = await pipeline.accept()
    await pipeline.delivery.drain()
    await pipeline.sweep()
    assert (pipeline.sender.sent, await pipeline.statuses(message_id)) == ([], ["QUEUED", "FAILED"])
    assert await pipeline.attempts(message_id) == []


@pytest.mark.parametrize("status", ["QUEUED", "SCHEDULED"])
async def test_what_was_not_sent_in_time_expires(pipeline: MessagePipeline, status: str) -> None:
    message_id = await pipeline.accept()
    await pipeline.tamper(
        "UPDATE messages SET status = :status, expires_at = now() - interval '1 second', due_at = now()", status=status
    )
    await pipeline.delivery.drain()
    assert pipeline.sender.sent == []
    await pipeline.sweep()
    message = await pipeline.message(message_id)
    assert message.failure is not None
    assert (message.status, message.failure.reason) == ("FAILED", "EXPIRED")
    # Nothing here is broken: no alert is needed.
    assert await pipeline.count("dead_letters") == 0


async def test_a_message_that_expires_unsent_says_what_delayed_it(pipeline: MessagePipeline) -> None:
    pipeline.sender.answer = away
    message_id = await pipeline.accept()
    await pipeline.delivery.drain()
    await pipeline.tamper("UPDATE messages SET expires_at = now()")
    await pipeline.sweep()
    failure = (await pipeline.message(message_id)).failure
    assert failure is not None
    assert (failure.reason, failure.party) == ("EXPIRED", "PROVIDER")
    assert failure.message.endswith("The last try: away")
    # An operator may want to know, as after the last attempt.
    assert await pipeline.count("dead_letters") == 1


async def test_what_has_gone_out_does_not_expire(pipeline: MessagePipeline) -> None:
    message_id = await pipeline.accept()
    await pipeline.delivery.drain()
    await pipeline.tamper("UPDATE messages SET expires_at = now() - interval '1 second'")
    await pipeline.sweep()
    assert await pipeline.status(message_id) == "SENT"


async def test_the_next_try_comes_no_later_than_the_expiry(pipeline: MessagePipeline) -> None:
    pipeline.sender.answer = away
    message_id = await pipeline.accept()
    await pipeline.tamper("UPDATE messages SET expires_at = now() + interval '0.3 seconds'")
    await pipeline.delivery.drain()
    message = await pipeline.message(message_id)
    assert message.next_attempt_at is not None
    assert message.expires_at is not None
    assert message.next_attempt_at <= message.expires_at


async def test_a_step_that_does_not_deliver_in_time_gives_way(pipeline: MessagePipeline) -> None:
    message_id = await accepted_message(pipeline, SMS_THEN_WHATSAPP)
    await pipeline.delivery.drain()
    await pipeline.sweep()
    assert await pipeline.status(message_id) == "SENT"
    await pipeline.tamper("UPDATE messages SET step_until = now(), due_at = now()")
    await pipeline.sweep()
    message = await pipeline.message(message_id)
    assert (message.status, message.channel) == ("QUEUED", "WHATSAPP")
    assert "did not reach DELIVERED" in ((await pipeline.events(message_id))[-1].detail or "")


async def test_a_step_that_cannot_be_tried_in_time_gives_way_too(pipeline: MessagePipeline) -> None:
    pipeline.sender.answer = away
    message_id = await accepted_message(pipeline, SMS_THEN_WHATSAPP)
    await pipeline.delivery.drain()
    await pipeline.tamper("UPDATE messages SET step_until = now(), due_at = now() + interval '1 hour'")
    await pipeline.sweep()
    assert (await pipeline.message(message_id)).channel == "WHATSAPP"


async def test_late_proof_of_the_first_channel_wins_and_stops_the_second(pipeline: MessagePipeline) -> None:
    message_id = await accepted_message(pipeline, SMS_THEN_WHATSAPP)
    await pipeline.delivery.drain()
    await pipeline.tamper("UPDATE messages SET step_until = now(), due_at = now()")
    await pipeline.sweep()
    reference = pipeline.sender.sent[0].reference
    await pipeline.keep(StatusReport("k", "delivered", "{}", status=ReportedStatus.DELIVERED, reference=reference))
    await pipeline.apply()
    message = await pipeline.message(message_id)
    assert (message.status, message.channel, message.next_attempt_at) == ("DELIVERED", "SMS", None)


async def test_delivery_in_time_ends_the_deadline(pipeline: MessagePipeline) -> None:
    message_id = await accepted_message(pipeline, SMS_THEN_WHATSAPP)
    await pipeline.delivery.drain()
    reference = pipeline.sender.sent[0].reference
    await pipeline.keep(StatusReport("k", "delivered", "{}", status=ReportedStatus.DELIVERED, reference=reference))
    await pipeline.apply()
    async with pipeline.worker.transaction() as connection:
        row = (await connection.exec_driver_sql("SELECT due_at, step_until FROM messages")).one()
    assert tuple(row) == (None, None)
    assert await pipeline.status(message_id) == "DELIVERED"


async def test_a_goal_of_sent_is_reached_when_it_was_taken(pipeline: MessagePipeline) -> None:
    await accepted_message(
        pipeline, [make_step(Channel.SMS, within=FIVE_MINUTES, until=RouteGoal.SENT), make_step(Channel.WHATSAPP)]
    )
    await pipeline.delivery.drain()
    async with pipeline.worker.transaction() as connection:
        row = (await connection.exec_driver_sql("SELECT due_at, step_until FROM messages")).one()
    assert tuple(row) == (None, None)


async def test_a_noisy_tenant_does_not_keep_a_quiet_one_waiting(
    pipeline: MessagePipeline, shared_database: tuple[Urls, asyncpg.Connection]
) -> None:
    for number in range(30):
        await pipeline.accept(body=str(number))
    _, owner = shared_database
    await owner.execute("INSERT INTO tenants VALUES ($1, 'quiet', 'Quiet', 'UTC', 'EUR')", OTHER_TENANT)
    draft = Draft(TextContent("pst"), [make_step(Channel.SMS)], phone="+5511987654321")
    quiet = (await pipeline.outbox.accept(OTHER_TENANT, draft)).message_id
    async with pipeline.worker.transaction() as connection:
        claimed = await claim(connection, Channel.SMS, "twilio", worker="w", limit=10, timing=Timing())
    assert quiet in {one.key.message_id for one in claimed}
    assert len(claimed) == 6


async def test_what_was_put_back_counts_no_try_and_is_due_later(pipeline: MessagePipeline) -> None:
    await pipeline.accept()
    timing = Timing()
    async with pipeline.worker.transaction() as connection:
        [one] = await claim(connection, Channel.SMS, "twilio", worker="w", limit=10, timing=timing)
        await release(connection, [one], [60.0])
        assert await claim(connection, Channel.SMS, "twilio", worker="w", limit=10, timing=timing) == []
    await pipeline.tamper("UPDATE messages SET due_at = due_at - interval '60 seconds'")
    await pipeline.delivery.drain()
    assert [message.reference.attempt for message in pipeline.sender.sent] == [1]
