"""Batches: each message is validated separately, the cost does not grow with them, and a repeated call completes it."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import text

from core.errors import IdempotencyConflict, InvalidInput, NotConfigured, Overloaded, Refused
from core.messages.accept import Accepted
from core.messages.batch import AcceptedBatch, BatchDraft, accept_batch, batches_of, counts_of
from core.messages.status import MessageStatus, make_step
from core.messages.store import Outcome, SealedMessage
from core.messages.validation import ChannelService, Draft
from core.ports import Channel, EmailContent, TextContent
from core.ports.identity import DEFAULT_TENANT
from tests.delivery.pipeline import MessagePipeline
from tests.delivery.round_trips import round_trips


def draft(number: int, **given: Any) -> Draft:
    return Draft(TextContent(f"Olá, {number}"), [make_step(Channel.SMS)], phone=f"+55119870{number:05d}", **given)


def batch(size: int, **given: Any) -> BatchDraft:
    return BatchDraft([draft(number) for number in range(size)], "batch-1", **given)


async def take(pipeline: MessagePipeline, given: BatchDraft) -> AcceptedBatch:
    return await accept_batch(pipeline.outbox, DEFAULT_TENANT, given)


def ids(accepted: AcceptedBatch) -> list[Any]:
    return [result.message_id for result in accepted.results if isinstance(result, Accepted)]


async def test_a_bad_message_delays_no_other(pipeline: MessagePipeline) -> None:
    drafts = [
        draft(0),
        replace(draft(1), phone="1"),
        draft(2),
        Draft(EmailContent("s", "x"), [make_step(Channel.EMAIL)]),
    ]
    drafts[3] = replace(drafts[3], email="ana@example.com")
    accepted = await take(pipeline, BatchDraft(drafts, "batch-1"))
    assert [type(result) for result in accepted.results] == [Accepted, Refused, Accepted, Refused]
    [wrong], [missing] = accepted.results[1].errors, accepted.results[3].errors
    assert wrong.path == ("input", "messages", "1", "to", "phone")
    assert isinstance(missing, NotConfigured)
    assert missing.path == ("input", "messages", "3", "route", "0", "channel")
    assert await pipeline.count("messages") == 2


async def test_the_same_batch_again_is_the_first_one_with_its_results(pipeline: MessagePipeline) -> None:
    drafts = [draft(0), replace(draft(1), phone="1"), draft(2)]
    first, again = [await take(pipeline, BatchDraft(drafts, "batch-1", "Lembretes")) for _ in range(2)]
    assert (first.is_replay, again.is_replay) == (False, True)
    assert (again.batch_id, ids(again)) == (first.batch_id, ids(first))
    assert [getattr(result, "is_replay", None) for result in again.results] == [True, None, True]
    assert await pipeline.count("messages") == 2
    with pytest.raises(IdempotencyConflict):
        await take(pipeline, BatchDraft(drafts[:2], "batch-1", "Lembretes"))


@pytest.mark.parametrize(
    "draft_",
    [
        Draft(TextContent("Olá"), [make_step(Channel.SMS)], phone="+55 11 98765-4321"),
        # Another thing is wrong with it, so it is no message; it is the same request all the same.
        Draft(TextContent("Olá"), [], phone="+55 11 98765-4321"),
    ],
)
async def test_the_same_batch_with_its_addresses_written_in_another_way_is_the_same(
    pipeline: MessagePipeline, draft_: Draft
) -> None:
    first = await take(pipeline, BatchDraft([draft(0), draft_], "batch-1"))
    again = await take(pipeline, BatchDraft([draft(0), replace(draft_, phone="+5511987654321")], "batch-1"))
    assert (again.is_replay, again.batch_id) == (True, first.batch_id)
    with pytest.raises(IdempotencyConflict):
        await take(pipeline, BatchDraft([draft(0), replace(draft_, phone="+5511987654322")], "batch-1"))


async def test_two_at_once_make_one_batch(pipeline: MessagePipeline) -> None:
    first, second = await asyncio.gather(take(pipeline, batch(20)), take(pipeline, batch(20)))
    assert first.batch_id == second.batch_id
    assert ids(first) == ids(second)
    assert await pipeline.count("messages") == 20
    assert await pipeline.count("message_batches") == 1


async def test_a_batch_that_broke_off_is_finished_by_repeating_it(
    pipeline: MessagePipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep = pipeline.outbox.keep

    async def break_off(member: SealedMessage) -> Outcome:
        if member.checked.place[-1] in ("3", "7"):
            raise Overloaded("The database went away.", retry_after=2)
        return await keep(member)

    monkeypatch.setattr(pipeline.outbox, "keep", break_off)
    with pytest.raises(Overloaded, match="to store the rest"):
        await take(pipeline, batch(10))
    monkeypatch.undo()
    assert await pipeline.count("messages") == 8
    again = await take(pipeline, batch(10))
    assert again.is_replay
    replays = [result.is_replay for result in again.results if isinstance(result, Accepted)]
    assert replays == [place not in (3, 7) for place in range(10)]
    assert await pipeline.count("messages") == 10


async def test_what_the_database_refuses_is_one_result_among_others(
    pipeline: MessagePipeline, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    # A sealed value the database cannot take: nothing a check could have seen.
    prepare = pipeline.outbox.prepare

    async def spoil(*arguments: Any, **given: Any) -> Any:
        ready = await prepare(*arguments, **given)
        if ready.sealed.checked.place[-1] == "4":
            return replace(ready, sealed=replace(ready.sealed, to_hash=None))
        return ready

    monkeypatch.setattr(pipeline.outbox, "prepare", spoil)
    accepted = await take(pipeline, batch(10))
    assert [place for place, result in enumerate(accepted.results) if not isinstance(result, Accepted)] == [4]
    [error] = accepted.results[4].errors
    assert error.path == ("input", "messages", "4")
    assert await pipeline.count("messages") == 9


async def test_a_batch_costs_no_more_for_two_hundred_than_for_ten(pipeline: MessagePipeline) -> None:
    trips = []
    for number, size in enumerate((10, 200)):
        async with round_trips(pipeline.app) as seen:
            await take(pipeline, replace(batch(size), idempotency_key=f"batch-{number}"))
        trips.append(len(seen))
    # The batch and its key: four; its messages as one group: three.
    assert trips == [7, 7]


async def test_five_hundred_are_three_groups(pipeline: MessagePipeline) -> None:
    async with round_trips(pipeline.app) as seen:
        accepted = await take(pipeline, batch(500))
    assert len(ids(accepted)) == await pipeline.count("messages") == 500
    assert len(seen) == 4 + 3 * 3
    assert ids(accepted) == sorted(ids(accepted))


@pytest.mark.parametrize(
    ("given", "path", "rule"),
    [
        (BatchDraft([], "k"), "input.messages", "REQUIRED"),
        (batch(501), "input.messages", "TOO_LONG"),
        (batch(1, name="x" * 256), "input.name", "MALFORMED"),
        (batch(1, name="a\nb"), "input.name", "MALFORMED"),
        (replace(batch(1), idempotency_key=" "), "input.idempotencyKey", "TOO_SHORT"),
    ],
)
async def test_what_cannot_be_a_batch_is_refused_as_a_whole(
    pipeline: MessagePipeline, given: BatchDraft, path: str, rule: str
) -> None:
    with pytest.raises(Refused) as refused:
        await take(pipeline, given)
    [error] = refused.value.errors
    assert isinstance(error, InvalidInput)
    assert (".".join(error.path), error.rule) == (path, rule)
    assert await pipeline.count("messages") == await pipeline.count("message_batches") == 0


async def test_messages_keep_their_own_keys_and_external_ids(pipeline: MessagePipeline) -> None:
    alone = await pipeline.outbox.accept(DEFAULT_TENANT, draft(1, idempotency_key="order-1"))
    drafts = [
        draft(1, idempotency_key="order-1"),
        draft(2, idempotency_key="order-2"),
        draft(2, idempotency_key="order-2"),
        draft(3, external_id="E3"),
        draft(4, external_id="E3"),
    ]
    results = (await take(pipeline, BatchDraft(drafts, "batch-1"))).results
    assert results[0] == Accepted(alone.message_id, is_replay=True)
    assert (results[1].is_replay, results[2].is_replay) == (False, True)
    assert results[1].message_id == results[2].message_id
    assert isinstance(results[3], Accepted)
    assert isinstance(results[4], InvalidInput)
    assert results[4].path == ("input", "messages", "4", "externalId")


async def test_a_rehearsal_in_a_batch_stores_nothing_of_its_own(pipeline: MessagePipeline) -> None:
    drafts = [draft(1), draft(2, is_rehearsal=True), draft(3, is_rehearsal=True, external_id="E1")]
    await pipeline.outbox.accept(DEFAULT_TENANT, draft(9, external_id="E1"))
    results = (await take(pipeline, BatchDraft(drafts, "batch-1"))).results
    assert isinstance(results[0], Accepted)
    assert results[1] is None
    assert isinstance(results[2], InvalidInput)
    assert await pipeline.count("messages") == 2


async def test_what_was_refused_for_want_of_settings_is_sent_when_repeated_after_they_came(
    pipeline: MessagePipeline,
) -> None:
    e_mail = Draft(EmailContent("s", "x"), [make_step(Channel.EMAIL)], email="ana@example.com")
    first = await take(pipeline, BatchDraft([e_mail, draft(1)], "batch-1"))
    pipeline.outbox.channels = {**pipeline.outbox.channels, Channel.EMAIL: ChannelService("smtp", True)}
    again = await take(pipeline, BatchDraft([e_mail, draft(1)], "batch-1"))
    assert [type(result) for result in first.results] == [Refused, Accepted]
    assert [result.is_replay for result in again.results] == [False, True]


async def test_a_batch_counts_its_messages_and_knows_when_it_is_over(pipeline: MessagePipeline) -> None:
    accepted = await take(pipeline, batch(3, name="Lembretes"))

    async def look() -> Any:
        async with pipeline.app.transaction(DEFAULT_TENANT) as connection:
            found = (await batches_of(connection, DEFAULT_TENANT, [accepted.batch_id]))[accepted.batch_id]
            return found, (await counts_of(connection, DEFAULT_TENANT, [accepted.batch_id]))[accepted.batch_id]

    found, counts = await look()
    assert found.name == "Lembretes"
    assert (counts.by_status, counts.rested_at) == ({MessageStatus.QUEUED: 3}, None)
    await pipeline.delivery.drain()
    _, counts = await look()
    assert counts.by_status == {MessageStatus.SENT: 3}
    async with pipeline.worker.transaction() as connection:
        last = (await connection.execute(text("SELECT max(sent_at) FROM messages"))).scalar_one()
    assert counts.rested_at == last
