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
from core.ports.identity import DEFAULT_TENANT
from tests.delivery.factories import OTHER_TENANT
from tests.delivery.pipeline import MessagePipeline

TIMING = Timing()


async def stop(pipeline: MessagePipeline, message_id: UUID, tenant: UUID = DEFAULT_TENANT) -> None:
    await cancel_message(pipeline.app, pipeline.hub, tenant, message_id)


async def test_a_waiting_message_is_canceled_and_never_sent(pipeline: MessagePipeline) -> None:
    message_id = await pipeline.accept()
    await stop(pipeline, message_id)
    await pipeline.delivery.drain()
    assert pipeline.sender.sent == []
    assert await pipeline.statuses(message_id) == ["QUEUED", "CANCELED"]
    # A caller that lost the answer asks again.
    await stop(pipeline, message_id)
    assert await pipeline.statuses(message_id) == ["QUEUED", "CANCELED"]


async def test_a_claimed_message_that_was_not_begun_is_canceled_in_time(pipeline: MessagePipeline) -> None:
    message_id = await pipeline.accept()
    async with pipeline.worker.transaction() as connection:
        claimed = await claim(connection, Channel.SMS, "twilio", worker="w", limit=10, timing=TIMING)
    await stop(pipeline, message_id)
    async with pipeline.worker.transaction() as connection:
        assert await begin(connection, claimed, TIMING) == set()
    assert await pipeline.status(message_id) == "CANCELED"


async def test_a_message_that_was_begun_is_too_late(pipeline: MessagePipeline) -> None:
    pipeline.sender.gate.clear()
    message_id = await pipeline.accept()
    async with pipeline.worker.transaction() as connection:
        claimed = await claim(connection, Channel.SMS, "twilio", worker="w", limit=10, timing=TIMING)
        await begin(connection, claimed, TIMING)
    with pytest.raises(InvalidState, match="Too late to cancel: the message is SENDING"):
        await stop(pipeline, message_id)


@pytest.mark.parametrize("repetition", range(10))
async def test_against_a_worker_exactly_one_of_the_two_wins(pipeline: MessagePipeline, repetition: int) -> None:
    message_id = await pipeline.accept()
    draining, stopping = await asyncio.gather(
        pipeline.delivery.drain(), stop(pipeline, message_id), return_exceptions=True
    )
    assert draining is None
    was_canceled = stopping is None
    assert (len(pipeline.sender.sent), await pipeline.status(message_id)) == (
        (0, "CANCELED") if was_canceled else (1, "SENT")
    )
    assert was_canceled or isinstance(stopping, InvalidState)


async def test_one_that_waits_for_its_next_try_is_canceled(pipeline: MessagePipeline) -> None:
    def away(_: OutboundMessage) -> Receipt:
        raise ProviderUnavailable("away", provider="twilio")

    pipeline.sender.answer = away
    message_id = await pipeline.accept()
    await pipeline.delivery.drain()
    await stop(pipeline, message_id)
    assert (await pipeline.message(message_id)).next_attempt_at is None


async def test_one_that_may_have_gone_out_is_not_called_canceled(pipeline: MessagePipeline) -> None:
    def lost(_: OutboundMessage) -> Receipt:
        raise OutcomeUnknown("lost", provider="twilio")

    pipeline.sender.answer = lost
    message_id = await pipeline.accept()
    await pipeline.delivery.drain()
    # As after a route that asks for another send: waiting again, and yet perhaps delivered already.
    await pipeline.tamper("UPDATE messages SET status = 'QUEUED'")
    with pytest.raises(InvalidState, match="may have accepted"):
        await stop(pipeline, message_id)


async def test_missing_and_foreign_messages_are_answered_alike(pipeline: MessagePipeline) -> None:
    message_id = await pipeline.accept()
    for tenant, wanted in ((DEFAULT_TENANT, uuid4()), (OTHER_TENANT, message_id)):
        with pytest.raises(NotFound, match="There is no such message"):
            await stop(pipeline, wanted, tenant)


async def test_a_batch_is_stopped_and_says_what_it_was_too_late_for(pipeline: MessagePipeline) -> None:
    draft = BatchDraft(
        [Draft(TextContent("Oi"), [make_step(Channel.SMS)], "+5511987654321") for _ in range(5)], "batch"
    )
    batch = await accept_batch(pipeline.outbox, DEFAULT_TENANT, draft)
    ids = [one.message_id for one in batch.results if isinstance(one, Accepted)]
    states = {"SENT": ids[0], "UNCONFIRMED": ids[1], "CANCELED": ids[2]}
    for status, id in states.items():
        await pipeline.tamper("UPDATE messages SET status = :status WHERE id = :id", status=status, id=id)
    # Its answer was lost: asked again, it is the same.
    for _ in range(2):
        done = await cancel_batch(pipeline.app, pipeline.hub, DEFAULT_TENANT, batch.batch_id)
        assert (done.canceled, done.too_late) == (3, 2)
    assert [await pipeline.status(id) for id in ids] == ["SENT", "UNCONFIRMED", "CANCELED", "CANCELED", "CANCELED"]
    await pipeline.delivery.drain()
    assert pipeline.sender.sent == []
    with pytest.raises(NotFound):
        await cancel_batch(pipeline.app, pipeline.hub, uuid4(), batch.batch_id)
