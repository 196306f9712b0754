"""A message whose outcome cannot be written: the others continue without it."""

import pytest

from core.backoff import tries_of
from core.errors import ProviderUnavailable
from core.messages.claim import Timing
from core.messages.delivery import ChannelDelivery
from core.messages.status import make_step
from core.messages.validation import ChannelService, Draft
from core.ports import Channel, OutboundMessage, Receipt, TextContent
from core.ports.identity import DEFAULT_TENANT
from tests.delivery.pipeline import MessagePipeline


async def test_an_outcome_that_cannot_be_written_delays_no_other(pipeline: MessagePipeline) -> None:
    ids = [await pipeline.accept(body=str(number)) for number in range(3)]

    def answer(message: OutboundMessage) -> Receipt:
        return Receipt("SM\0" if message.reference.message_id == ids[1] else "SM1")

    pipeline.sender.answer = answer
    await pipeline.delivery.drain()
    assert [await pipeline.status(one) for one in ids] == ["SENT", "SENDING", "SENT"]
    await pipeline.accept(body="later")
    await pipeline.delivery.drain()
    assert len(pipeline.sender.sent) == 4


async def test_each_step_of_a_route_has_its_own_tries(
    pipeline: MessagePipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(pipeline.outbox.channels, Channel.WHATSAPP, ChannelService("whatsapp", True))  # type: ignore[arg-type]

    def away(_: OutboundMessage) -> Receipt:
        raise ProviderUnavailable("Away.", provider="twilio")

    pipeline.sender.answer = away
    second = ChannelDelivery(
        Channel.WHATSAPP, "whatsapp", pipeline.sender, pipeline.worker, pipeline.sealer, pipeline.hub, "test-worker"
    )
    draft = Draft(TextContent("oi"), [make_step(Channel.SMS), make_step(Channel.WHATSAPP)], phone="+5511987654321")
    message_id = (await pipeline.outbox.accept(DEFAULT_TENANT, draft)).message_id
    tries = tries_of(Timing().retry_for)
    for delivery in (pipeline.delivery, second):
        for _ in range(tries):
            await pipeline.tamper("UPDATE messages SET due_at = now() WHERE due_at IS NOT NULL")
            await delivery.drain()
    assert len(pipeline.sender.sent) == 2 * tries
    assert await pipeline.status(message_id) == "FAILED"


async def test_an_unreadable_row_is_parked_when_it_is_due_and_the_others_continue(
    pipeline: MessagePipeline,
) -> None:
    ids = [await pipeline.accept(body=str(number)) for number in range(3)]
    await pipeline.tamper("UPDATE messages SET status = 'SCHEDULED', due_at = now()")
    await pipeline.tamper("""UPDATE messages SET route = '[{"channel": "PIGEON"}]' WHERE id = :id""", id=ids[1])
    await pipeline.sweep()
    async with pipeline.worker.transaction() as connection:
        rows = (await connection.exec_driver_sql("SELECT id, status, due_at FROM messages")).all()
    assert {row.id: row.status for row in rows} == {ids[0]: "QUEUED", ids[1]: "FAILED", ids[2]: "QUEUED"}
    assert await pipeline.count("dead_letters") == 1
    await pipeline.sweep()
    assert await pipeline.count("dead_letters") == 1
