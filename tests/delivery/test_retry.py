"""A retry by hand: a new run over the steps of a failed message, with as much time as before."""

from datetime import timedelta
from uuid import UUID

import pytest

from core.errors import InvalidState, NotFound, OutcomeUnknown
from core.ids import uuid7
from core.messages.retry import Retried, retry
from core.messages.status import MOST_STEPS, EventSource, MessageStatus, Step, make_step
from core.ports import Channel, OutboundMessage, Receipt, ReportedStatus
from core.ports.principal import DEFAULT_TENANT
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
    shop: MessagePipeline,
    message_id: UUID,
    route: list[Step] | None = None,
    *,
    tenant: UUID = DEFAULT_TENANT,
    may_double: bool = True,
) -> Retried:
    async with shop.app.transaction(tenant) as connection:
        return await retry(
            connection, tenant, message_id, route, EventSource.API, channels=ALL_CHANNELS, may_double=may_double
        )


async def test_what_failed_goes_out_again_over_its_own_route(shop: MessagePipeline) -> None:
    message_id = await failed_message(shop)
    assert (await again(shop, message_id)).channel is Channel.SMS
    assert (await shop.message(message_id)).failure is None
    await shop.delivery.drain()
    assert [one.reference.attempt for one in shop.sender.sent] == [1, 2]
    assert await shop.statuses(message_id) == ["QUEUED", "SENDING", "FAILED", "QUEUED", "SENDING", "SENT"]


async def test_another_route_replaces_the_last_one_for_good(shop: MessagePipeline) -> None:
    message_id = await failed_message(shop)
    other = [make_step(Channel.EMAIL, within=timedelta(minutes=5)), make_step(Channel.WHATSAPP)]
    assert (await again(shop, message_id, other)).channel is Channel.EMAIL
    await shop.tamper("UPDATE messages SET status = 'FAILED', due_at = NULL")
    await again(shop, message_id)
    message = await shop.message(message_id)
    assert [one.channel.value for one in message.route] == ["SMS", "EMAIL", "WHATSAPP", "EMAIL", "WHATSAPP"]
    assert [one.begins_anew for one in message.route] == [False, True, False, True, False]
    assert (message.step, message.channel) == (3, Channel.EMAIL)
    assert message.route[3].within == timedelta(minutes=5)


async def test_it_has_as_much_time_as_the_first_time_each_time(shop: MessagePipeline) -> None:
    message_id = await failed_message(shop)
    await shop.tamper(
        "UPDATE messages SET created_at = now() - interval '2 hours', expires_at = now() - interval '1 hour'"
    )
    for _ in range(2):
        await again(shop, message_id)
        [[left, due]] = await fetch_rows(shop, "SELECT expires_at - updated_at, due_at <= updated_at FROM messages")
        assert (left, due) == (timedelta(hours=1), True)
        await shop.tamper("UPDATE messages SET status = 'FAILED', due_at = NULL")
    assert (await shop.message(message_id)).status is MessageStatus.FAILED


async def test_what_never_expired_does_not_begin_to(shop: MessagePipeline) -> None:
    message_id = await failed_message(shop)
    await again(shop, message_id)
    assert (await shop.message(message_id)).expires_at is None


@pytest.mark.parametrize("status", sorted(set(MessageStatus) - {MessageStatus.FAILED, MessageStatus.RECEIVED}))
async def test_only_what_failed_is_tried_again(shop: MessagePipeline, status: MessageStatus) -> None:
    message_id = await failed_message(shop)
    await shop.tamper("UPDATE messages SET status = :status", status=status.value)
    with pytest.raises(InvalidState) as refused:
        await again(shop, message_id)
    assert refused.value.state == status
    assert await shop.status(message_id) == status


async def test_what_people_wrote_to_us_is_not_sent_back(shop: MessagePipeline) -> None:
    await shop.keep(inbound_message("+15005550006"))
    await shop.apply()
    [[message_id]] = await fetch_rows(shop, "SELECT id FROM messages")
    with pytest.raises(InvalidState):
        await again(shop, message_id)  # type: ignore[arg-type]


async def test_a_message_of_another_tenant_and_an_unknown_one_cannot_be_retried(shop: MessagePipeline) -> None:
    message_id = await failed_message(shop)
    with pytest.raises(NotFound):
        await again(shop, message_id, tenant=OTHER_TENANT)
    with pytest.raises(NotFound):
        await again(shop, uuid7())
    assert await shop.status(message_id) == "FAILED"


async def test_a_route_does_not_grow_for_ever(shop: MessagePipeline) -> None:
    message_id = await failed_message(shop)
    await again(shop, message_id, [make_step(Channel.SMS)] * (MOST_STEPS - 1))
    await shop.tamper("UPDATE messages SET status = 'FAILED'")
    with pytest.raises(InvalidState, match="Send a new message"):
        await again(shop, message_id, [make_step(Channel.SMS)])


async def test_what_may_arrive_twice_is_tried_only_by_who_says_so(shop: MessagePipeline) -> None:
    def lost(_: OutboundMessage) -> Receipt:
        raise OutcomeUnknown("The line broke.", provider="twilio")

    shop.sender.answer = lost
    message_id = await shop.accept()
    await shop.delivery.drain()
    await shop.tamper("UPDATE messages SET status = 'FAILED', due_at = NULL")
    with pytest.raises(InvalidState, match="retryMessage"):
        await again(shop, message_id, may_double=False)
    await again(shop, message_id)
    assert await shop.status(message_id) == "QUEUED"


async def test_a_message_the_provider_already_has_is_retried_only_on_explicit_request(shop: MessagePipeline) -> None:
    message_id = await accepted_message(shop, SMS_THEN_WHATSAPP)
    await shop.delivery.drain()
    await shop.tamper("UPDATE messages SET step_until = now(), due_at = now()")
    await shop.sweep()
    # The second channel fails in the end; the first one was taken, and may deliver any moment.
    await shop.tamper("UPDATE messages SET status = 'FAILED', due_at = NULL")
    with pytest.raises(InvalidState, match="retryMessage"):
        await again(shop, message_id, may_double=False)
    await shop.keep(status_report(message_id, ReportedStatus.FAILED))
    await shop.apply()
    await again(shop, message_id, may_double=False)
    assert await shop.status(message_id) == "QUEUED"


async def test_a_late_report_about_the_first_try_still_wins(shop: MessagePipeline) -> None:
    message_id = await failed_message(shop)
    await again(shop, message_id)
    await shop.keep(status_report(message_id, ReportedStatus.DELIVERED))
    await shop.apply()
    assert await shop.status(message_id) == "DELIVERED"
