"""Backpressure: a full channel refuses more messages before they are stored, and only from tenants that fill it."""

from uuid import UUID, uuid4

import asyncpg
import pytest

from core.errors import QueueFull, Refused
from core.messages import accept
from core.messages.accept import Backpressure
from core.messages.status import make_step
from core.messages.validation import Draft
from core.ports import Channel, TextContent
from core.ports.identity import DEFAULT_TENANT
from tests.databases import Urls
from tests.delivery.pipeline import MessagePipeline
from tests.delivery.round_trips import round_trips


def draft(key: str | None = None, body: str = "Olá") -> Draft:
    return Draft(TextContent(body), [make_step(Channel.SMS)], phone="+5511987654321", idempotency_key=key)


async def fill(pipeline: MessagePipeline, number: int, tenant: UUID = DEFAULT_TENANT) -> None:
    for place in range(number):
        await pipeline.outbox.accept(tenant, draft(f"order-{place}"))


@pytest.fixture
async def full(pipeline: MessagePipeline) -> MessagePipeline:
    """A pipeline that has reached its limit of five, and knows it."""
    pipeline.outbox.pressure = Backpressure(pipeline.app, 5)
    await fill(pipeline, 5)
    await pipeline.outbox.pressure.look([Channel.SMS])
    return pipeline


async def test_beyond_the_limit_a_message_is_refused_with_a_time_and_not_stored(full: MessagePipeline) -> None:
    with pytest.raises(Refused) as refused:
        await full.outbox.accept(DEFAULT_TENANT, draft("new"))
    [error] = refused.value.errors
    assert isinstance(error, QueueFull)
    assert (error.integration, error.path) == ("twilio", ("input", "route", "0", "channel"))
    assert error.retry_at.tzinfo is not None
    assert await full.count("messages") == await full.count("idempotency_keys") == 5


async def test_a_replay_is_answered_all_the_same(full: MessagePipeline) -> None:
    assert (await full.outbox.accept(DEFAULT_TENANT, draft("order-1"))).is_replay


async def test_a_key_used_with_other_input_is_still_a_conflict(full: MessagePipeline) -> None:
    with pytest.raises(Exception, match="other input"):
        await full.outbox.accept(DEFAULT_TENANT, draft("order-1", "Outra coisa"))


async def test_who_did_not_fill_the_queue_is_let_in(full: MessagePipeline, urls: Urls) -> None:
    quiet = uuid4()
    owner = await asyncpg.connect(urls.direct)
    await owner.execute("INSERT INTO tenants VALUES ($1, $2, 'Quiet', 'UTC', 'EUR')", quiet, quiet.hex)
    await owner.close()
    assert not (await full.outbox.accept(quiet, draft())).is_replay
    await full.outbox.pressure.look([Channel.SMS])
    assert full.outbox.pressure.is_too_high(Channel.SMS, DEFAULT_TENANT)
    assert not full.outbox.pressure.is_too_high(Channel.SMS, quiet)


async def test_once_it_has_been_carried_away_more_is_taken(full: MessagePipeline) -> None:
    await full.delivery.drain()
    await full.outbox.pressure.look([Channel.SMS])
    assert not (await full.outbox.accept(DEFAULT_TENANT, draft("new"))).is_replay


async def test_what_was_not_counted_lately_is_taken(full: MessagePipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accept, "_TRUSTED", -1.0)
    assert not (await full.outbox.accept(DEFAULT_TENANT, draft("new"))).is_replay


async def test_another_channel_is_not_concerned(full: MessagePipeline) -> None:
    assert not full.outbox.pressure.is_too_high(Channel.EMAIL, DEFAULT_TENANT)


async def test_a_look_is_one_statement(full: MessagePipeline) -> None:
    async with round_trips(full.app) as seen:
        await full.outbox.pressure.look([Channel.SMS, Channel.EMAIL, Channel.WHATSAPP])
    assert len(seen) == 3
