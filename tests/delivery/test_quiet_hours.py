"""Quiet hours apply for the whole life of a message: to a backlog, a fallback and a retry as well."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from api.worker.loops import worker_context
from core.access.directory import TenantZones
from core.errors import ProviderUnavailable
from core.messages.delivery import QuietHoursCheck
from core.messages.status import Step, make_step
from core.messages.validation import Draft
from core.messages.worker import build_deliveries
from core.ports import Channel, OutboundMessage, Pace, Receipt, TextContent
from core.ports.identity import DEFAULT_TENANT
from core.providers.rate_limiter import Unlimited
from core.quiet_hours import QuietHours
from tests.apps import build_application
from tests.databases import Urls
from tests.delivery.limiters import NewLimiter
from tests.delivery.pipeline import MessagePipeline

HOUR, FIVE = timedelta(hours=1), timedelta(minutes=5)
SAO_PAULO = timedelta(hours=-3)


def hours(begin: timedelta, end: timedelta) -> QuietHours:
    """Quiet hours that begin and end so long from now, on the walls of São Paulo."""
    there = datetime.now(UTC) + SAO_PAULO
    return QuietHours((there + begin).time(), (there + end).time())


@pytest.fixture
def night(pipeline: MessagePipeline) -> MessagePipeline:
    """A pipeline with two more hours of quiet hours, though it was day when its messages were accepted."""
    pipeline.outbox._schedule._quiet_hours = hours(5 * HOUR, 6 * HOUR)
    pipeline.delivery.quiet_hours = QuietHoursCheck(
        pipeline.sealer, TenantZones(pipeline.worker), hours(-HOUR, 2 * HOUR)
    )
    return pipeline


def day(pipeline: MessagePipeline) -> None:
    pipeline.delivery.quiet_hours = QuietHoursCheck(
        pipeline.sealer, TenantZones(pipeline.worker), hours(5 * HOUR, 6 * HOUR)
    )


async def handed_in(pipeline: MessagePipeline, *route: Step, **given: Any) -> UUID:
    steps = list(route) or [make_step(Channel.SMS)]
    draft = Draft(TextContent("Olá"), steps, phone="+5511987654321", respects_quiet_hours=True, **given)
    return (await pipeline.outbox.accept(DEFAULT_TENANT, draft)).message_id


async def test_a_message_delayed_by_a_backlog_waits_for_the_end_of_quiet_hours(night: MessagePipeline) -> None:
    message_id = await handed_in(night)
    await night.delivery.drain()
    message = await night.message(message_id)
    assert (night.sender.sent, message.status, await night.attempts(message_id)) == ([], "QUEUED", [])
    assert message.next_attempt_at is not None
    assert abs(message.next_attempt_at - datetime.now(UTC) - 2 * HOUR) < FIVE
    day(night)
    await night.tamper("UPDATE messages SET due_at = now()")
    await night.delivery.drain()
    assert await night.status(message_id) == "SENT"
    assert [attempt.number for attempt in await night.attempts(message_id)] == [1]


async def test_a_retry_and_a_fallback_wait_for_the_end_of_quiet_hours(night: MessagePipeline) -> None:
    def away(_: OutboundMessage) -> Receipt:
        raise ProviderUnavailable("Away.", provider="twilio")

    held, answer, night.sender.answer = night.delivery.quiet_hours, night.sender.answer, away
    day(night)
    message_id = await handed_in(night)
    await night.delivery.drain()
    night.delivery.quiet_hours, night.sender.answer = held, answer
    await night.tamper("UPDATE messages SET due_at = now()")
    await night.delivery.drain()
    assert (len(night.sender.sent), await night.status(message_id)) == (1, "QUEUED")


async def test_a_step_has_its_full_time_after_quiet_hours(night: MessagePipeline) -> None:
    night.serve(Channel.WHATSAPP, "whatsapp")
    message_id = await handed_in(night, make_step(Channel.SMS, within=FIVE), make_step(Channel.WHATSAPP))
    await night.delivery.drain()
    assert await night.count("messages WHERE step_until - due_at BETWEEN interval '4 minutes' AND interval '5 minutes'")
    await night.sweep()
    assert (await night.message(message_id)).channel is Channel.SMS


async def test_a_message_that_expires_before_quiet_hours_end_is_not_sent(night: MessagePipeline) -> None:
    message_id = await handed_in(night, expires_in=HOUR)
    await night.delivery.drain()
    await night.tamper("UPDATE messages SET expires_at = now()")
    await night.sweep()
    assert await night.status(message_id) == "FAILED"


async def test_a_message_without_quiet_hours_is_sent_at_night(night: MessagePipeline) -> None:
    message_id = await night.accept()
    await night.delivery.drain()
    assert await night.status(message_id) == "SENT"


async def test_a_message_deferred_by_quiet_hours_does_not_count_as_sent_to_its_recipient(
    night: MessagePipeline,
) -> None:
    admitted: list[bytes] = []

    class Watched(Unlimited):
        async def admit(self, recipients: Any) -> list[float]:
            admitted.extend(recipients)
            return [0.0] * len(recipients)

    night.delivery.rate_limiter = Watched()
    await handed_in(night)
    await night.delivery.drain()
    assert admitted == []


async def test_messages_in_quiet_hours_use_no_rate_limit_slots(night: MessagePipeline, new_limiter: NewLimiter) -> None:
    night.delivery.rate_limiter = new_limiter(Pace(0.01, burst=1))
    asleep, awake = [await handed_in(night) for _ in range(3)], await night.accept()
    await night.delivery.drain()
    assert [await night.status(one) for one in [*asleep, awake]] == ["QUEUED"] * 3 + ["SENT"]


async def test_one_whose_address_cannot_be_read_waits_and_is_not_begun(night: MessagePipeline) -> None:
    message_id = await handed_in(night)
    await night.tamper("UPDATE messages SET to_sealed = decode('00', 'hex') WHERE id = :id", id=message_id)
    await night.delivery.drain()
    waits = "status = 'QUEUED' AND due_at > now() AND lease_until IS NULL AND attempt_count = 0"
    assert await night.count(f"messages WHERE {waits}") == 1


async def test_a_number_without_a_time_zone_follows_the_senders_clock_and_delays_no_other(
    night: MessagePipeline,
) -> None:
    strange, other = await handed_in(night), await night.accept()
    sealed = night.sealer.seal("112", tenant=DEFAULT_TENANT, row=strange, column="to")
    await night.tamper("UPDATE messages SET to_sealed = :sealed WHERE id = :id", sealed=sealed, id=strange)
    await night.delivery.drain()
    assert (await night.status(strange), await night.status(other)) == ("QUEUED", "SENT")


async def test_a_worker_tries_each_channel_for_as_long_as_it_was_set(urls: Urls) -> None:
    cases: list[tuple[dict[str, str], tuple[float, float]]] = [
        ({}, (1.0, 4.0)),
        ({"RETRY_HOURS_EMAIL": "24", "RETRY_HOURS_SMS": "0.5"}, (0.5, 24.0)),
    ]
    for given, wanted in cases:
        application = build_application(urls, DATABASE_URL=urls.worker, **given)
        try:
            built = build_deliveries(worker_context(application, "test"))
            deliveries = {one.channel: one for one in built}
            tried = [deliveries[one].timing.retry_for for one in (Channel.SMS, Channel.EMAIL)]
        finally:
            await application.close()
        assert tried == [timedelta(hours=one) for one in wanted]


async def test_a_worker_keeps_the_quiet_hours_it_was_set(urls: Urls) -> None:
    application = build_application(urls, DATABASE_URL=urls.worker, QUIET_HOURS="20:00-09:00")
    try:
        nights = {
            str(one.quiet_hours and one.quiet_hours.quiet_hours)
            for one in build_deliveries(worker_context(application, "test"))
        }
    finally:
        await application.close()
    assert nights == {"20:00-09:00"}
