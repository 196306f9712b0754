"""Canceling: only a message that has not been sent, also while a worker has claimed it."""

import asyncio
from uuid import UUID, uuid4

import pytest

from core.errors import InvalidState, NotFound, OutcomeUnknown, ProviderUnavailable
from core.messages.accept import Accepted
from core.messages.batch import BatchDraft, accept_batch
from core.messages.claim import Timing, begin, claim
from core.messages.commands import cancel_batch, cancel_message
from core.messages.status import make_step
from core.messages.validation import Draft
from core.ports import Channel, OutboundMessage, Receipt, TextContent
from core.ports.principal import DEFAULT_TENANT
from tests.delivery.factories import OTHER_TENANT
from tests.delivery.pipeline import MessagePipeline

TIMING = Timing()


async def stop(shop: MessagePipeline, message_id: UUID, tenant: UUID = DEFAULT_TENANT) -> None:
    await cancel_message(shop.app, shop.hub, tenant, message_id)


async def test_a_waiting_message_is_canceled_and_never_sent(shop: MessagePipeline) -> None:
    message_id = await shop.accept()
    await stop(shop, message_id)
    await shop.delivery.drain()
    assert shop.sender.sent == []
    assert await shop.statuses(message_id) == ["QUEUED", "CANCELED"]
    # Whoever lost the answer asks again.
    await stop(shop, message_id)
    assert await shop.statuses(message_id) == ["QUEUED", "CANCELED"]


async def test_a_claimed_message_that_was_not_begun_is_canceled_in_time(shop: MessagePipeline) -> None:
    message_id = await shop.accept()
    async with shop.worker.transaction() as connection:
        claimed = await claim(connection, Channel.SMS, "twilio", worker="w", limit=10, timing=TIMING)
    await stop(shop, message_id)
    async with shop.worker.transaction() as connection:
        assert await begin(connection, claimed, TIMING) == set()
    assert await shop.status(message_id) == "CANCELED"


async def test_a_message_that_was_begun_is_too_late(shop: MessagePipeline) -> None:
    shop.sender.gate.clear()
    message_id = await shop.accept()
    async with shop.worker.transaction() as connection:
        claimed = await claim(connection, Channel.SMS, "twilio", worker="w", limit=10, timing=TIMING)
        await begin(connection, claimed, TIMING)
    with pytest.raises(InvalidState, match="Too late: the message is SENDING"):
        await stop(shop, message_id)


@pytest.mark.parametrize("repetition", range(10))
async def test_against_a_worker_exactly_one_of_the_two_wins(shop: MessagePipeline, repetition: int) -> None:
    message_id = await shop.accept()
    draining, stopping = await asyncio.gather(shop.delivery.drain(), stop(shop, message_id), return_exceptions=True)
    assert draining is None
    was_canceled = stopping is None
    assert (len(shop.sender.sent), await shop.status(message_id)) == ((0, "CANCELED") if was_canceled else (1, "SENT"))
    assert was_canceled or isinstance(stopping, InvalidState)


async def test_one_that_waits_for_its_next_try_is_canceled(shop: MessagePipeline) -> None:
    def away(_: OutboundMessage) -> Receipt:
        raise ProviderUnavailable("away", provider="twilio")

    shop.sender.answer = away
    message_id = await shop.accept()
    await shop.delivery.drain()
    await stop(shop, message_id)
    assert (await shop.message(message_id)).next_attempt_at is None


async def test_one_that_may_have_gone_out_is_not_called_canceled(shop: MessagePipeline) -> None:
    def lost(_: OutboundMessage) -> Receipt:
        raise OutcomeUnknown("lost", provider="twilio")

    shop.sender.answer = lost
    message_id = await shop.accept()
    await shop.delivery.drain()
    # As after a route that asks for another send: waiting again, and yet perhaps delivered already.
    await shop.tamper("UPDATE messages SET status = 'QUEUED'")
    with pytest.raises(InvalidState, match="perhaps taken"):
        await stop(shop, message_id)


async def test_missing_and_foreign_messages_are_answered_alike(shop: MessagePipeline) -> None:
    message_id = await shop.accept()
    for tenant, wanted in ((DEFAULT_TENANT, uuid4()), (OTHER_TENANT, message_id)):
        with pytest.raises(NotFound, match="There is no such message"):
            await stop(shop, wanted, tenant)


async def test_a_batch_is_stopped_and_says_what_it_was_too_late_for(shop: MessagePipeline) -> None:
    draft = BatchDraft(
        [Draft(TextContent("Oi"), [make_step(Channel.SMS)], "+5511987654321") for _ in range(5)], "batch"
    )
    batch = await accept_batch(shop.outbox, DEFAULT_TENANT, draft)
    ids = [one.message_id for one in batch.results if isinstance(one, Accepted)]
    states = {"SENT": ids[0], "UNCONFIRMED": ids[1], "CANCELED": ids[2]}
    for status, id in states.items():
        await shop.tamper("UPDATE messages SET status = :status WHERE id = :id", status=status, id=id)
    # Its answer was lost: asked again, it is the same.
    for _ in range(2):
        done = await cancel_batch(shop.app, shop.hub, DEFAULT_TENANT, batch.batch_id)
        assert (done.canceled, done.too_late) == (3, 2)
    assert [await shop.status(id) for id in ids] == ["SENT", "UNCONFIRMED", "CANCELED", "CANCELED", "CANCELED"]
    await shop.delivery.drain()
    assert shop.sender.sent == []
    with pytest.raises(NotFound):
        await cancel_batch(shop.app, shop.hub, uuid4(), batch.batch_id)
