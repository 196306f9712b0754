"""Replies: the link to the answered message is stored on both sides, sent to the provider, and stays in its tenant."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from uuid import UUID, uuid4

import asyncpg
import pytest

from core.errors import IdempotencyConflict, NotFound, Refused
from core.messages.status import make_step
from core.messages.validation import AnsweredMessage, Draft
from core.ports import Channel, InboundMessage, TextContent
from core.ports.identity import DEFAULT_TENANT
from tests.databases import Urls
from tests.delivery.factories import inbound_message
from tests.delivery.pipeline import MessagePipeline

OTHER_TENANT = UUID("01900000-0000-7000-8000-0000000000fe")
Foreign = Callable[[UUID], Awaitable[None]]


async def answer(pipeline: MessagePipeline, answered: UUID | None, key: str | None = None) -> UUID:
    draft = Draft(
        TextContent("Sim"),
        [make_step(Channel.SMS)],
        phone="+5511987654321",
        in_reply_to=AnsweredMessage("as written", answered),
        idempotency_key=key,
    )
    return (await pipeline.outbox.accept(DEFAULT_TENANT, draft)).message_id


async def written(pipeline: MessagePipeline, event: InboundMessage) -> UUID:
    """Let a message arrive; return our id of it."""
    before = await ids(pipeline)
    await pipeline.keep(event)
    await pipeline.apply()
    [found] = await ids(pipeline) - before
    return found


async def ids(pipeline: MessagePipeline) -> set[UUID]:
    async with pipeline.worker.transaction() as connection:
        rows = await connection.exec_driver_sql("SELECT id FROM messages")
        return {row.id for row in rows}


@pytest.fixture
async def make_foreign(urls: Urls) -> Foreign:
    """Give a message to another tenant."""

    async def give(message_id: UUID) -> None:
        owner = await asyncpg.connect(urls.direct)
        await owner.execute(
            "INSERT INTO tenants (id, slug, name, time_zone, default_currency) VALUES ($1, 'c', 'C', 'UTC', 'BRL')",
            OTHER_TENANT,
        )
        await owner.execute("DELETE FROM message_events WHERE message_id = $1", message_id)
        await owner.execute("UPDATE messages SET tenant_id = $1 WHERE id = $2", OTHER_TENANT, message_id)
        await owner.close()

    return give


async def test_a_reply_is_sent_with_the_provider_id_of_the_received_message(pipeline: MessagePipeline) -> None:
    event = inbound_message("+15005550006", body="Já saiu?")
    question = await written(pipeline, event)
    message_id = await answer(pipeline, question)
    await pipeline.delivery.drain()
    assert [one.in_reply_to for one in pipeline.sender.sent] == [event.provider_message_id]
    assert (await pipeline.message(message_id)).in_reply_to == question


async def test_we_may_answer_what_we_wrote_ourselves(pipeline: MessagePipeline) -> None:
    first = await pipeline.accept()
    await pipeline.delivery.drain()
    await answer(pipeline, first)
    plain = await pipeline.accept()
    await pipeline.delivery.drain()
    quoted = {one.reference.message_id: one.in_reply_to for one in pipeline.sender.sent}
    assert quoted[plain] is None
    assert list(quoted.values()) == [None, f"SM{first.hex}", None]


async def test_a_reply_to_another_providers_message_is_stored_but_not_passed_on(pipeline: MessagePipeline) -> None:
    question = await written(pipeline, inbound_message("+15005550006"))
    await pipeline.tamper("UPDATE messages SET integration = 'another'")
    message_id = await answer(pipeline, question)
    await pipeline.delivery.drain()
    assert pipeline.sender.sent[-1].in_reply_to is None
    assert (await pipeline.message(message_id)).in_reply_to == question


@pytest.mark.parametrize("answered", [None, uuid4()])
async def test_nothing_can_be_answered_that_is_not_there(pipeline: MessagePipeline, answered: UUID | None) -> None:
    with pytest.raises(Refused) as caught:
        await answer(pipeline, answered, key="order-1")
    [error] = caught.value.errors
    assert isinstance(error, NotFound)
    assert (error.id, error.path) == ("as written", ("input", "inReplyTo"))
    assert await pipeline.count("messages") == await pipeline.count("idempotency_keys") == 0


async def test_a_message_of_another_tenant_cannot_be_replied_to(
    pipeline: MessagePipeline, make_foreign: Foreign
) -> None:
    theirs = await pipeline.accept()
    await make_foreign(theirs)
    with pytest.raises(Refused, match="no such message"):
        await answer(pipeline, theirs)
    assert await ids(pipeline) == {theirs}


async def test_what_a_message_answers_is_part_of_what_was_asked_for(pipeline: MessagePipeline) -> None:
    first, second = await pipeline.accept(), await pipeline.accept()
    message_id = await answer(pipeline, first, key="order-1")
    assert await answer(pipeline, first, key="order-1") == message_id
    with pytest.raises(IdempotencyConflict):
        await answer(pipeline, second, key="order-1")


async def test_a_received_reply_is_linked_to_our_message(pipeline: MessagePipeline) -> None:
    ours = await pipeline.accept()
    await pipeline.delivery.drain()
    reply = await written(pipeline, replace(inbound_message("+15005550006"), in_reply_to=f"SM{ours.hex}"))
    assert (await pipeline.message(reply)).in_reply_to == ours


async def test_a_received_reply_is_linked_to_the_customers_own_message(pipeline: MessagePipeline) -> None:
    event = inbound_message("+15005550006")
    earlier = await written(pipeline, event)
    later = await written(pipeline, replace(inbound_message("+15005550006"), in_reply_to=event.provider_message_id))
    assert (await pipeline.message(later)).in_reply_to == earlier


async def test_an_answer_to_nothing_we_know_is_a_message_all_the_same(
    pipeline: MessagePipeline, make_foreign: Foreign
) -> None:
    event = inbound_message("+15005550006")
    theirs = await written(pipeline, event)
    await make_foreign(theirs)
    for answered in ("SMunheard", event.provider_message_id):
        reply = await written(pipeline, replace(inbound_message("+15005550006"), in_reply_to=answered))
        assert (await pipeline.message(reply)).in_reply_to is None
