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


async def test_a_scheduled_message_waits_for_its_hour(shop: MessagePipeline) -> None:
    message_id = await shop.accept()
    await shop.tamper("UPDATE messages SET status = 'SCHEDULED', due_at = now() + interval '1 hour'")
    await shop.sweep()
    await shop.delivery.drain()
    assert await shop.status(message_id) == "SCHEDULED"
    await shop.tamper("UPDATE messages SET due_at = now()")
    await shop.sweep()
    await shop.delivery.drain()
    assert await shop.statuses(message_id) == ["QUEUED", "QUEUED", "SENDING", "SENT"]


@pytest.mark.parametrize("limit", ["expires_at", "step_until"])
async def test_what_runs_out_of_time_after_it_was_claimed_is_not_begun(shop: MessagePipeline, limit: str) -> None:
    await shop.accept()
    async with shop.worker.transaction() as connection:
        claimed = await claim(connection, Channel.SMS, "twilio", worker="slow", limit=1, timing=Timing())
    await shop.tamper(f"UPDATE messages SET {limit} = now()")
    async with shop.worker.transaction() as connection:
        assert await begin(connection, claimed, Timing()) == set()


async def test_what_ran_out_of_time_in_a_slow_worker_s_hands_is_let_go_at_once(shop: MessagePipeline) -> None:
    class Slow(Unlimited):
        paces_recipients = True

        async def admit(self, recipients: Sequence[bytes]) -> list[float]:
            await shop.tamper("UPDATE messages SET expires_at = now()")
            return [0.0] * len(recipients)

    shop.delivery.rate_limiter = Slow()
    message_id = await shop.accept()
    await shop.delivery.drain()
    await shop.sweep()
    assert (shop.sender.sent, await shop.statuses(message_id)) == ([], ["QUEUED", "FAILED"])
    assert await shop.attempts(message_id) == []


@pytest.mark.parametrize("status", ["QUEUED", "SCHEDULED"])
async def test_what_was_not_sent_in_time_expires(shop: MessagePipeline, status: str) -> None:
    message_id = await shop.accept()
    await shop.tamper(
        "UPDATE messages SET status = :status, expires_at = now() - interval '1 second', due_at = now()", status=status
    )
    await shop.delivery.drain()
    assert shop.sender.sent == []
    await shop.sweep()
    message = await shop.message(message_id)
    assert message.failure is not None
    assert (message.status, message.failure.reason) == ("FAILED", "EXPIRED")
    # Nothing here is broken: nobody has to be called.
    assert await shop.count("dead_letters") == 0


async def test_a_message_that_expires_unsent_says_what_delayed_it(shop: MessagePipeline) -> None:
    shop.sender.answer = away
    message_id = await shop.accept()
    await shop.delivery.drain()
    await shop.tamper("UPDATE messages SET expires_at = now()")
    await shop.sweep()
    failure = (await shop.message(message_id)).failure
    assert failure is not None
    assert (failure.reason, failure.party) == ("EXPIRED", "PROVIDER")
    assert failure.message.endswith("The last try: away")
    # Whoever runs this server may want to know, as after the last of its tries.
    assert await shop.count("dead_letters") == 1


async def test_what_has_gone_out_does_not_expire(shop: MessagePipeline) -> None:
    message_id = await shop.accept()
    await shop.delivery.drain()
    await shop.tamper("UPDATE messages SET expires_at = now() - interval '1 second'")
    await shop.sweep()
    assert await shop.status(message_id) == "SENT"


async def test_the_next_try_comes_no_later_than_the_expiry(shop: MessagePipeline) -> None:
    shop.sender.answer = away
    message_id = await shop.accept()
    await shop.tamper("UPDATE messages SET expires_at = now() + interval '0.3 seconds'")
    await shop.delivery.drain()
    message = await shop.message(message_id)
    assert message.next_attempt_at is not None
    assert message.expires_at is not None
    assert message.next_attempt_at <= message.expires_at


async def test_a_step_that_does_not_deliver_in_time_gives_way(shop: MessagePipeline) -> None:
    message_id = await accepted_message(shop, SMS_THEN_WHATSAPP)
    await shop.delivery.drain()
    await shop.sweep()
    assert await shop.status(message_id) == "SENT"
    await shop.tamper("UPDATE messages SET step_until = now(), due_at = now()")
    await shop.sweep()
    message = await shop.message(message_id)
    assert (message.status, message.channel) == ("QUEUED", "WHATSAPP")
    assert "did not reach DELIVERED" in ((await shop.events(message_id))[-1].detail or "")


async def test_a_step_that_cannot_be_tried_in_time_gives_way_too(shop: MessagePipeline) -> None:
    shop.sender.answer = away
    message_id = await accepted_message(shop, SMS_THEN_WHATSAPP)
    await shop.delivery.drain()
    await shop.tamper("UPDATE messages SET step_until = now(), due_at = now() + interval '1 hour'")
    await shop.sweep()
    assert (await shop.message(message_id)).channel == "WHATSAPP"


async def test_late_proof_of_the_first_channel_wins_and_stops_the_second(shop: MessagePipeline) -> None:
    message_id = await accepted_message(shop, SMS_THEN_WHATSAPP)
    await shop.delivery.drain()
    await shop.tamper("UPDATE messages SET step_until = now(), due_at = now()")
    await shop.sweep()
    reference = shop.sender.sent[0].reference
    await shop.keep(StatusReport("k", "delivered", "{}", status=ReportedStatus.DELIVERED, reference=reference))
    await shop.apply()
    message = await shop.message(message_id)
    assert (message.status, message.channel, message.next_attempt_at) == ("DELIVERED", "SMS", None)


async def test_delivery_in_time_ends_the_deadline(shop: MessagePipeline) -> None:
    message_id = await accepted_message(shop, SMS_THEN_WHATSAPP)
    await shop.delivery.drain()
    reference = shop.sender.sent[0].reference
    await shop.keep(StatusReport("k", "delivered", "{}", status=ReportedStatus.DELIVERED, reference=reference))
    await shop.apply()
    async with shop.worker.transaction() as connection:
        row = (await connection.exec_driver_sql("SELECT due_at, step_until FROM messages")).one()
    assert tuple(row) == (None, None)
    assert await shop.status(message_id) == "DELIVERED"


async def test_a_goal_of_sent_is_reached_when_it_was_taken(shop: MessagePipeline) -> None:
    await accepted_message(
        shop, [make_step(Channel.SMS, within=FIVE_MINUTES, until=RouteGoal.SENT), make_step(Channel.WHATSAPP)]
    )
    await shop.delivery.drain()
    async with shop.worker.transaction() as connection:
        row = (await connection.exec_driver_sql("SELECT due_at, step_until FROM messages")).one()
    assert tuple(row) == (None, None)


async def test_a_noisy_tenant_does_not_keep_a_quiet_one_waiting(
    shop: MessagePipeline, shared_database: tuple[Urls, asyncpg.Connection]
) -> None:
    for number in range(30):
        await shop.accept(body=str(number))
    _, owner = shared_database
    await owner.execute("INSERT INTO tenants VALUES ($1, 'quiet', 'Quiet', 'UTC', 'EUR')", OTHER_TENANT)
    draft = Draft(TextContent("pst"), [make_step(Channel.SMS)], phone="+5511987654321")
    quiet = (await shop.outbox.accept(OTHER_TENANT, draft)).message_id
    async with shop.worker.transaction() as connection:
        claimed = await claim(connection, Channel.SMS, "twilio", worker="w", limit=10, timing=Timing())
    assert quiet in {one.key.message_id for one in claimed}
    assert len(claimed) == 6


async def test_what_was_put_back_counts_no_try_and_is_due_later(shop: MessagePipeline) -> None:
    await shop.accept()
    timing = Timing()
    async with shop.worker.transaction() as connection:
        [one] = await claim(connection, Channel.SMS, "twilio", worker="w", limit=10, timing=timing)
        await release(connection, [one], [60.0])
        assert await claim(connection, Channel.SMS, "twilio", worker="w", limit=10, timing=timing) == []
    await shop.tamper("UPDATE messages SET due_at = due_at - interval '60 seconds'")
    await shop.delivery.drain()
    assert [message.reference.attempt for message in shop.sender.sent] == [1]
