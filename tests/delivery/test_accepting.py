"""Accepting: all or nothing, once per key, and no address or content in the clear."""

import asyncio

import pytest
from sqlalchemy import text

from core.errors import IdempotencyConflict, InvalidInput, NotConfigured, Refused
from core.messages.accept import Accepted
from core.messages.status import make_step
from core.messages.validation import Draft
from core.ports import Channel, EmailContent, TextContent
from core.ports.identity import DEFAULT_TENANT
from tests.delivery.pipeline import MessagePipeline

SMS = [make_step(Channel.SMS)]


async def test_an_accepted_message_is_queued_and_its_channel_woken(pipeline: MessagePipeline) -> None:
    message_id = await pipeline.accept("+55 11 98765-4321", "Olá, Ana!")
    message = await pipeline.message(message_id)
    assert (message.status, message.to, message.to_masked) == ("QUEUED", "+5511987654321", "+55 11 9••••-4321")
    assert message.content == TextContent("Olá, Ana!")
    assert pipeline.woken == [Channel.SMS]
    assert await pipeline.statuses(message_id) == ["QUEUED"]


async def test_no_personal_data_is_stored_in_the_clear(pipeline: MessagePipeline) -> None:
    await pipeline.accept("+5511987654321", "segredo-da-ana", key="k")
    for table in ("messages", "message_events", "idempotency_keys"):
        async with pipeline.worker.transaction() as connection:
            rows = (await connection.execute(text(f"SELECT {table}::text FROM {table}"))).scalars().all()
        dump = " ".join(rows)
        assert rows
        for secret in ("segredo-da-ana", "987654321", b"segredo-da-ana".hex(), b"+5511987654321".hex()):
            assert secret not in dump


async def test_the_same_key_and_input_make_one_message(pipeline: MessagePipeline) -> None:
    draft = Draft(TextContent("Olá"), SMS, phone="+5511987654321", idempotency_key="order-1")
    # The same number written otherwise is the same input.
    again = Draft(TextContent("Olá"), SMS, phone="+55 11 98765 4321", idempotency_key="order-1")
    first, second = [await pipeline.outbox.accept(DEFAULT_TENANT, one) for one in (draft, again)]
    assert (first.is_replay, second.is_replay) == (False, True)
    assert first.message_id == second.message_id
    assert await pipeline.count("messages") == 1


async def test_fifty_at_once_with_one_key_make_one_message(pipeline: MessagePipeline) -> None:
    draft = Draft(TextContent("Olá"), SMS, phone="+5511987654321", idempotency_key="order-1")
    answers: list[Accepted] = await asyncio.gather(*(pipeline.outbox.accept(DEFAULT_TENANT, draft) for _ in range(50)))
    assert len({answer.message_id for answer in answers}) == 1
    assert sorted(answer.is_replay for answer in answers) == [False] + [True] * 49
    assert await pipeline.count("messages") == await pipeline.count("message_events") == 1


@pytest.mark.parametrize(
    "other",
    [
        Draft(TextContent("Olá!"), SMS, phone="+5511987654321", idempotency_key="order-1"),
        Draft(TextContent("Olá"), SMS, phone="+5511987654322", idempotency_key="order-1"),
    ],
)
async def test_the_same_key_with_other_input_is_refused(pipeline: MessagePipeline, other: Draft) -> None:
    await pipeline.accept(key="order-1")
    with pytest.raises(IdempotencyConflict, match="order-1") as refused:
        await pipeline.outbox.accept(DEFAULT_TENANT, other)
    assert refused.value.first_used_at.tzinfo is not None
    assert await pipeline.count("messages") == 1


async def test_a_key_can_be_reused_after_seven_days(pipeline: MessagePipeline, urls: object) -> None:
    first = await pipeline.accept(key="order-1")
    async with pipeline.app.transaction(DEFAULT_TENANT) as connection:
        await connection.execute(text("UPDATE idempotency_keys SET expires_at = now() - interval '1 second'"))
    second = await pipeline.accept(body="another", key="order-1")
    assert first != second
    assert await pipeline.count("idempotency_keys") == 1


async def test_a_message_that_was_not_stored_leaves_its_key_free(pipeline: MessagePipeline) -> None:
    async with pipeline.worker.transaction() as connection:
        await connection.execute(text("SELECT 1"))
    draft = Draft(TextContent("Olá"), [], phone="+5511987654321", idempotency_key="order-1")
    with pytest.raises(Refused):
        await pipeline.outbox.accept(DEFAULT_TENANT, draft)
    assert await pipeline.count("idempotency_keys") == 0


async def test_everything_wrong_is_said_at_once(pipeline: MessagePipeline) -> None:
    draft = Draft(
        TextContent(" "), [make_step(Channel.SMS), make_step(Channel.SMS)], phone="+551187654321", idempotency_key="k"
    )
    with pytest.raises(Refused) as refused:
        await pipeline.outbox.accept(DEFAULT_TENANT, draft)
    errors = refused.value.errors
    assert [getattr(error, "path", None) for error in errors] == [
        ("input", "to", "phone"),
        ("input", "content", "text"),
        ("input", "route", "1", "channel"),
    ]
    assert "+5511987654321" in errors[0].message
    assert "9" in errors[0].message


REFUSED = {
    "no channel": (Draft(TextContent("x"), [], phone="+5511987654321"), ("input", "route"), "REQUIRED"),
    "eleven channels": (Draft(TextContent("x"), SMS * 11, phone="+5511987654321"), ("input", "route"), "TOO_LONG"),
    "an e-mail to a phone": (
        Draft(TextContent("x"), SMS, email="ana@example.com"),
        ("input", "route", "0", "channel"),
        "NOT_ALLOWED",
    ),
    "no number": (Draft(TextContent("x"), SMS, phone="987654321"), ("input", "to", "phone"), "MALFORMED"),
    "a number nobody has": (Draft(TextContent("x"), SMS, phone="+5511000"), ("input", "to", "phone"), "MALFORMED"),
    "a huge number": (Draft(TextContent("x"), SMS, phone="+55" + "9" * 4000), ("input", "to", "phone"), "TOO_LONG"),
    "two addresses": (
        Draft(EmailContent("s", "x"), [make_step(Channel.EMAIL)], email="a@b.co, evil@x.com"),
        ("input", "to", "email"),
        "MALFORMED",
    ),
    "an address with a line break": (
        Draft(EmailContent("s", "x"), [make_step(Channel.EMAIL)], email="a@b.co\r\nBcc: evil@x.com"),
        ("input", "to", "email"),
        "MALFORMED",
    ),
    "a subject with a line break": (
        Draft(EmailContent("s\r\nBcc: evil@x.com", "x"), [make_step(Channel.EMAIL)], email="a@b.co"),
        ("input", "content", "email", "subject"),
        "MALFORMED",
    ),
    "an e-mail without a body": (
        Draft(EmailContent("s", " ", None), [make_step(Channel.EMAIL)], email="a@b.co"),
        ("input", "content", "email"),
        "REQUIRED",
    ),
    "an e-mail of a megabyte": (
        Draft(EmailContent("s", "x" * 1_000_000), [make_step(Channel.EMAIL)], email="a@b.co"),
        ("input", "content", "email"),
        "TOO_LONG",
    ),
    "an SMS of 1,601 characters": (
        Draft(TextContent("x" * 1_601), SMS, phone="+5511987654321"),
        ("input", "content", "text"),
        "TOO_LONG",
    ),
    "half a surrogate pair": (
        Draft(TextContent("x\ud800"), SMS, phone="+5511987654321"),
        ("input", "content", "text"),
        "MALFORMED",
    ),
    "NUL": (Draft(TextContent("x\x00"), SMS, phone="+5511987654321"), ("input", "content", "text"), "MALFORMED"),
    "an empty key": (
        Draft(TextContent("x"), SMS, phone="+5511987654321", idempotency_key=" "),
        ("input", "idempotencyKey"),
        "TOO_SHORT",
    ),
    "a key of 256 characters": (
        Draft(TextContent("x"), SMS, phone="+5511987654321", idempotency_key="k" * 256),
        ("input", "idempotencyKey"),
        "TOO_LONG",
    ),
    "a key with a line break": (
        Draft(TextContent("x"), SMS, phone="+5511987654321", idempotency_key="a\nb"),
        ("input", "idempotencyKey"),
        "MALFORMED",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
async def test_bad_input_is_named_and_nothing_is_stored(pipeline: MessagePipeline, case: str) -> None:
    draft, path, rule = REFUSED[case]
    with pytest.raises(Refused) as refused:
        await pipeline.outbox.accept(DEFAULT_TENANT, draft)
    found = {error.path: error.rule for error in refused.value.errors if isinstance(error, InvalidInput)}
    assert found[path] == rule
    assert await pipeline.count("messages") == await pipeline.count("idempotency_keys") == 0
    assert pipeline.woken == []


async def test_an_unconfigured_channel_says_what_to_set(pipeline: MessagePipeline) -> None:
    draft = Draft(EmailContent("s", "x"), [make_step(Channel.EMAIL)], email="ana@example.com")
    with pytest.raises(Refused) as refused:
        await pipeline.outbox.accept(DEFAULT_TENANT, draft)
    [error] = refused.value.errors
    assert isinstance(error, NotConfigured)
    assert (error.integration, error.path) == ("smtp", ("input", "route", "0", "channel"))
    assert "SMTP_HOST" in error.message
