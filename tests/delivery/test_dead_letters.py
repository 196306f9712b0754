"""Dead letters: written when an operator can help, closed when the work continues or has succeeded after all."""

import asyncio
from copy import copy
from dataclasses import replace
from uuid import UUID

from core.errors import AppError, FailureParty, InvalidState, NotFound, OutcomeUnknown, ProviderRejected
from core.ids import uuid7
from core.inbox.closing import MAX_TRIES
from core.messages.accept import Outbox
from core.messages.retry import retry
from core.messages.status import EventSource
from core.nouns import Installation
from core.operations.requeue import RequeuedLetters, discard_dead_letters, requeue_dead_letters
from core.ports import Channel, OutboundMessage, Receipt, ReportedStatus
from core.ports.identity import DEFAULT_TENANT
from tests.contributed import SUBJECTS
from tests.delivery.factories import (
    ALL_CHANNELS,
    MAKE_INBOX_DUE,
    OTHER_TENANT,
    failed_message,
    fetch_rows,
    poison_event,
    refuse,
    status_report,
)
from tests.delivery.pipeline import MessagePipeline
from tests.helpers import until


async def letters(pipeline: MessagePipeline, columns: str = "id") -> list[object]:
    """Of each dead letter, oldest first, one column."""
    return [row[0] for row in await fetch_rows(pipeline, f"SELECT {columns} FROM dead_letters ORDER BY id")]


def installation_of(pipeline: MessagePipeline) -> Installation:
    """The pipeline's, with every channel served."""
    outbox = copy(pipeline.outbox)
    outbox.channels = ALL_CHANNELS
    return replace(pipeline.installation, services={Outbox: outbox})


async def put_back(pipeline: MessagePipeline, *ids: object, tenant: UUID = DEFAULT_TENANT) -> RequeuedLetters:
    async with pipeline.app.transaction(tenant) as connection:
        return await requeue_dead_letters(installation_of(pipeline), SUBJECTS, connection, tenant, ids)  # type: ignore[arg-type]


async def give_up(pipeline: MessagePipeline, *ids: object, tenant: UUID = DEFAULT_TENANT) -> list[AppError | None]:
    async with pipeline.app.transaction(tenant) as connection:
        return list((await discard_dead_letters(connection, SUBJECTS, tenant, ids)).values())  # type: ignore[arg-type]


async def test_requeued_it_is_sent_again_and_a_second_failure_is_a_second_letter(pipeline: MessagePipeline) -> None:
    message_id = await failed_message(pipeline)
    [letter] = await letters(pipeline)
    done = await put_back(pipeline, letter)
    assert done.refusals == {letter: None}
    await pipeline.apply()
    for then in done.then:
        await then()
    assert pipeline.woken == [Channel.SMS, Channel.SMS]
    assert await pipeline.status(message_id) == "QUEUED"
    pipeline.sender.answer = refuse
    await pipeline.delivery.drain()
    assert len(pipeline.sender.sent) == 2
    assert await letters(pipeline, "resolution") == ["REQUEUED", None]
    assert (await pipeline.events(message_id))[3].source == "OPERATOR"


async def test_twice_requeued_it_is_sent_once(pipeline: MessagePipeline) -> None:
    await failed_message(pipeline)
    [letter] = await letters(pipeline)
    await put_back(pipeline, letter)
    # A caller that lost the answer gets the same again.
    assert (await put_back(pipeline, letter)).refusals == {letter: None}
    await pipeline.delivery.drain()
    assert len(pipeline.sender.sent) == 2


async def test_delivered_after_all_it_is_settled(pipeline: MessagePipeline) -> None:
    message_id = await failed_message(pipeline)
    await pipeline.keep(status_report(message_id, ReportedStatus.DELIVERED))
    await pipeline.apply()
    assert await pipeline.status(message_id) == "DELIVERED"
    assert await letters(pipeline, "resolution") == ["SETTLED"]


async def test_retried_by_its_sender_its_letter_is_closed(pipeline: MessagePipeline) -> None:
    message_id = await failed_message(pipeline)
    async with pipeline.app.transaction(DEFAULT_TENANT) as connection:
        await retry(connection, DEFAULT_TENANT, message_id, None, EventSource.API, channels=ALL_CHANNELS)
    assert await letters(pipeline, "resolution") == ["REQUEUED"]


async def test_the_letters_of_other_messages_stay_open(pipeline: MessagePipeline) -> None:
    first, _ = await failed_message(pipeline), await failed_message(pipeline)
    await pipeline.keep(status_report(first, ReportedStatus.DELIVERED))
    await pipeline.apply()
    assert await letters(pipeline, "resolution") == ["SETTLED", None]


async def test_a_recipients_refusal_is_no_dead_letter(pipeline: MessagePipeline) -> None:
    def wrong_number(_: OutboundMessage) -> Receipt:
        raise ProviderRejected("No such number.", provider="twilio", party=FailureParty.RECIPIENT)

    pipeline.sender.answer = wrong_number
    await pipeline.accept()
    await pipeline.delivery.drain()
    assert await letters(pipeline) == []


async def test_a_message_the_provider_may_have_accepted_is_not_requeued(pipeline: MessagePipeline) -> None:
    def lost(_: OutboundMessage) -> Receipt:
        raise OutcomeUnknown("The line broke.", provider="twilio")

    answer, pipeline.sender.answer = pipeline.sender.answer, lost
    message_id = await pipeline.accept()
    await pipeline.delivery.drain()
    pipeline.sender.answer = answer
    doubtful = uuid7()
    await pipeline.tamper("UPDATE messages SET status = 'FAILED', due_at = NULL")
    await pipeline.tamper(
        "INSERT INTO dead_letters (tenant_id, id, kind, message_id, error) VALUES (:t, :i, 'message.send', :m, 'x')",
        t=DEFAULT_TENANT,
        i=doubtful,
        m=message_id,
    )
    refusal = (await put_back(pipeline, doubtful)).refusals[doubtful]
    assert isinstance(refusal, InvalidState)
    assert "retryMessage" in refusal.message
    assert (await pipeline.status(message_id), await letters(pipeline, "resolution")) == ("FAILED", [None])


async def test_good_ones_are_done_beside_bad_ones(pipeline: MessagePipeline) -> None:
    await failed_message(pipeline), await failed_message(pipeline)
    first, second = await letters(pipeline)
    await give_up(pipeline, first)
    unknown = uuid7()
    refusals = (await put_back(pipeline, unknown, first, second)).refusals
    assert [type(one) for one in refusals.values()] == [NotFound, InvalidState, type(None)]
    assert await letters(pipeline, "resolution") == ["DISCARDED", "REQUEUED"]


async def test_one_that_this_version_cannot_read_keeps_no_other_back(pipeline: MessagePipeline) -> None:
    broken, sound = await failed_message(pipeline), await failed_message(pipeline)
    await pipeline.tamper("""UPDATE messages SET route = '[{"channel": "PIGEON"}]' WHERE id = :id""", id=broken)
    unreadable, readable = (await put_back(pipeline, *await letters(pipeline))).refusals.values()
    assert isinstance(unreadable, InvalidState)
    assert (readable, await pipeline.status(sound)) == (None, "QUEUED")
    assert await letters(pipeline, "resolution") == [None, "REQUEUED"]


async def test_discarded_it_is_closed_for_good_and_its_message_stays_failed(pipeline: MessagePipeline) -> None:
    message_id = await failed_message(pipeline)
    [letter] = await letters(pipeline)
    assert [await give_up(pipeline, letter), await give_up(pipeline, letter)] == [[None], [None]]
    assert isinstance((await put_back(pipeline, letter)).refusals[letter], InvalidState)  # type: ignore[index]
    assert await pipeline.status(message_id) == "FAILED"


async def somebody_waits_for_a_lock(pipeline: MessagePipeline) -> None:
    async def waiting() -> int:
        return len(await fetch_rows(pipeline, "SELECT 1 FROM pg_locks WHERE NOT granted"))

    await until(waiting, lambda number: number > 0)


async def test_discarded_and_requeued_at_once_only_the_first_is_done(pipeline: MessagePipeline) -> None:
    message_id = await failed_message(pipeline)
    [letter] = await letters(pipeline)
    async with pipeline.app.transaction(DEFAULT_TENANT) as connection:
        assert await discard_dead_letters(connection, SUBJECTS, DEFAULT_TENANT, [letter]) == {letter: None}  # type: ignore[list-item]
        requeued = asyncio.create_task(put_back(pipeline, letter))
        await somebody_waits_for_a_lock(pipeline)
    [refusal] = (await requeued).refusals.values()
    assert isinstance(refusal, InvalidState)
    assert refusal.state == "DISCARDED"
    assert (await pipeline.status(message_id), await letters(pipeline, "resolution")) == ("FAILED", ["DISCARDED"])


async def test_requeued_and_discarded_at_once_only_the_first_is_done(pipeline: MessagePipeline) -> None:
    message_id = await failed_message(pipeline)
    [letter] = await letters(pipeline)
    async with pipeline.app.transaction(DEFAULT_TENANT) as connection:
        await requeue_dead_letters(installation_of(pipeline), SUBJECTS, connection, DEFAULT_TENANT, [letter])  # type: ignore[list-item]
        discarded = asyncio.create_task(give_up(pipeline, letter))
        await somebody_waits_for_a_lock(pipeline)
    [refusal] = await discarded
    assert isinstance(refusal, InvalidState)
    assert refusal.state == "REQUEUED"
    assert (await pipeline.status(message_id), await letters(pipeline, "resolution")) == ("QUEUED", ["REQUEUED"])


async def test_a_webhook_discarded_and_requeued_at_once_stays_given_up(pipeline: MessagePipeline) -> None:
    await pipeline.keep(poison_event())
    for _ in range(MAX_TRIES):
        await pipeline.tamper(MAKE_INBOX_DUE)
        await pipeline.apply()
    [letter] = await letters(pipeline)
    async with pipeline.app.transaction(DEFAULT_TENANT) as connection:
        await discard_dead_letters(connection, SUBJECTS, DEFAULT_TENANT, [letter])  # type: ignore[list-item]
        requeued = asyncio.create_task(put_back(pipeline, letter))
        await somebody_waits_for_a_lock(pipeline)
    [refusal] = (await requeued).refusals.values()
    assert isinstance(refusal, InvalidState)
    assert await fetch_rows(pipeline, "SELECT status FROM inbox") == [("FAILED",)]


async def test_the_letters_of_others_are_not_there(pipeline: MessagePipeline) -> None:
    await failed_message(pipeline)
    [letter] = await letters(pipeline)
    assert isinstance((await put_back(pipeline, letter, tenant=OTHER_TENANT)).refusals[letter], NotFound)  # type: ignore[index]
    assert isinstance((await give_up(pipeline, letter, tenant=OTHER_TENANT))[0], NotFound)
    assert await letters(pipeline, "resolution") == [None]


async def test_a_webhook_that_was_given_up_is_processed_again(pipeline: MessagePipeline) -> None:
    await pipeline.keep(poison_event())
    for _ in range(MAX_TRIES):
        await pipeline.tamper(MAKE_INBOX_DUE)
        await pipeline.apply()
    [letter] = await letters(pipeline)
    assert (await put_back(pipeline, letter)).refusals == {letter: None}
    assert await fetch_rows(pipeline, "SELECT status, attempts FROM inbox") == [("RECEIVED", 0)]
    for _ in range(MAX_TRIES):
        await pipeline.tamper(MAKE_INBOX_DUE)
        await pipeline.apply()
    assert await letters(pipeline, "resolution") == ["REQUEUED", None]
