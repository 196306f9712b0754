"""A retry by hand: a new run over the steps of a failed message, with as much time as before."""

from datetime import timedelta
from uuid import UUID

import pytest

from core.errors import InvalidState, NotFound, OutcomeUnknown
from core.ids import uuid7
from core.messages.retry import Retried, retry
from core.messages.status import MOST_STEPS, EventSource, MessageStatus, Step, make_step
from core.ports import Channel, OutboundMessage, Receipt, ReportedStatus
from core.ports.identity import DEFAULT_TENANT
from tests.delivery.factories import (
    ALL_CHANNELS,
    OTHER_TENANT,
    SMS_THEN_WHATSAPP,
    accepted_message,
    failed_message,
    fetch_rows,
    inbound_message,
    status_report,
)
from tests.delivery.pipeline import MessagePipeline


async def again(
    pipeline: MessagePipeline,
    message_id: UUID,
    route: list[Step] | None = None,
    *,
    tenant: UUID = DEFAULT_TENANT,
    may_double: bool = True,
) -> Retried:
    async with pipeline.app.transaction(tenant) as connection:
        return await retry(
            connection, tenant, message_id, route, EventSource.API, channels=ALL_CHANNELS, may_double=may_double
        )


async def test_what_failed_goes_out_again_over_its_own_route(pipeline: MessagePipeline) -> None:
    message_id = await failed_message(pipeline)
    assert (await again(pipeline, message_id)).channel is Channel.SMS
    assert (await pipeline.message(message_id)).failure is None
    await pipeline.delivery.drain()
    assert [one.reference.attempt for one in pipeline.sender.sent] == [1, 2]
    assert await pipeline.statuses(message_id) == ["QUEUED", "SENDING", "FAILED", "QUEUED", "SENDING", "SENT"]


async def test_another_route_replaces_the_last_one_for_good(pipeline: MessagePipeline) -> None:
    message_id = await failed_message(pipeline)
    other = [make_step(Channel.EMAIL, within=timedelta(minutes=5)), make_step(Channel.WHATSAPP)]
    assert (await again(pipeline, message_id, other)).channel is Channel.EMAIL
    await pipeline.tamper("UPDATE messages SET status = 'FAILED', due_at = NULL")
    await again(pipeline, message_id)
    message = await pipeline.message(message_id)
    assert [one.channel.value for one in message.route] == ["SMS", "EMAIL", "WHATSAPP", "EMAIL", "WHATSAPP"]
    assert [one.begins_anew for one in message.route] == [False, True, False, True, False]
    assert (message.step, message.channel) == (3, Channel.EMAIL)
    assert message.route[3].within == timedelta(minutes=5)


async def test_it_has_as_much_time_as_the_first_time_each_time(pipeline: MessagePipeline) -> None:
    message_id = await failed_message(pipeline)
    await pipeline.tamper(
        "UPDATE messages SET created_at = now() - interval '2 hours', expires_at = now() - interval '1 hour'"
    )
    for _ in range(2):
        await again(pipeline, message_id)
        [[left, due]] = await fetch_rows(pipeline, "SELECT expires_at - updated_at, due_at <= updated_at FROM messages")
        assert (left, due) == (timedelta(hours=1), True)
        await pipeline.tamper("UPDATE messages SET status = 'FAILED', due_at = NULL")
    assert (await pipeline.message(message_id)).status is MessageStatus.FAILED


async def test_what_never_expired_does_not_begin_to(pipeline: MessagePipeline) -> None:
    message_id = await failed_message(pipeline)
    await again(pipeline, message_id)
    assert (await pipeline.message(message_id)).expires_at is None


@pytest.mark.parametrize("status", sorted(set(MessageStatus) - {MessageStatus.FAILED, MessageStatus.RECEIVED}))
async def test_only_what_failed_is_tried_again(pipeline: MessagePipeline, status: MessageStatus) -> None:
    message_id = await failed_message(pipeline)
    await pipeline.tamper("UPDATE messages SET status = :status", status=status.value)
    with pytest.raises(InvalidState) as refused:
        await again(pipeline, message_id)
    assert refused.value.state == status
    assert await pipeline.status(message_id) == status


async def test_what_people_wrote_to_us_is_not_sent_back(pipeline: MessagePipeline) -> None:
    await pipeline.keep(inbound_message("+15005550006"))
    await pipeline.apply()
    [[message_id]] = await fetch_rows(pipeline, "SELECT id FROM messages")
    with pytest.raises(InvalidState):
        await again(pipeline, message_id)  # type: ignore[arg-type]


async def test_a_message_of_another_tenant_and_an_unknown_one_cannot_be_retried(pipeline: MessagePipeline) -> None:
    message_id = await failed_message(pipeline)
    with pytest.raises(NotFound):
        await again(pipeline, message_id, tenant=OTHER_TENANT)
    with pytest.raises(NotFound):
        await again(pipeline, uuid7())
    assert await pipeline.status(message_id) == "FAILED"


async def test_a_route_does_not_grow_for_ever(pipeline: MessagePipeline) -> None:
    message_id = await failed_message(pipeline)
    await again(pipeline, message_id, [make_step(Channel.SMS)] * (MOST_STEPS - 1))
    await pipeline.tamper("UPDATE messages SET status = 'FAILED'")
    with pytest.raises(InvalidState, match="Send a new message"):
        await again(pipeline, message_id, [make_step(Channel.SMS)])


async def test_what_may_arrive_twice_is_tried_only_by_who_says_so(pipeline: MessagePipeline) -> None:
    def lost(_: OutboundMessage) -> Receipt:
        raise OutcomeUnknown("The line broke.", provider="twilio")

    pipeline.sender.answer = lost
    message_id = await pipeline.accept()
    await pipeline.delivery.drain()
    await pipeline.tamper("UPDATE messages SET status = 'FAILED', due_at = NULL")
    with pytest.raises(InvalidState, match="retryMessage"):
        await again(pipeline, message_id, may_double=False)
    await again(pipeline, message_id)
    assert await pipeline.status(message_id) == "QUEUED"


async def test_a_message_the_provider_already_has_is_retried_only_on_explicit_request(
    pipeline: MessagePipeline,
) -> None:
    message_id = await accepted_message(pipeline, SMS_THEN_WHATSAPP)
    await pipeline.delivery.drain()
    await pipeline.tamper("UPDATE messages SET step_until = now(), due_at = now()")
    await pipeline.sweep()
    # The second channel fails in the end; the first one was taken, and may deliver any moment.
    await pipeline.tamper("UPDATE messages SET status = 'FAILED', due_at = NULL")
    with pytest.raises(InvalidState, match="retryMessage"):
        await again(pipeline, message_id, may_double=False)
    await pipeline.keep(status_report(message_id, ReportedStatus.FAILED))
    await pipeline.apply()
    await again(pipeline, message_id, may_double=False)
    assert await pipeline.status(message_id) == "QUEUED"


async def test_a_late_report_about_the_first_try_still_wins(pipeline: MessagePipeline) -> None:
    message_id = await failed_message(pipeline)
    await again(pipeline, message_id)
    await pipeline.keep(status_report(message_id, ReportedStatus.DELIVERED))
    await pipeline.apply()
    assert await pipeline.status(message_id) == "DELIVERED"
