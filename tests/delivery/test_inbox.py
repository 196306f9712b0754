"""The inbox: a failing event is retried, then parked, then replayed by hand, and delays no other event."""

import asyncio
from typing import Any

import asyncpg
import pytest
from sqlalchemy import text
from structlog.testing import capture_logs

from core.errors import InvalidState, NotFound, Overloaded
from core.ids import uuid7
from core.inbox import closing as module
from core.inbox.closing import MAX_TRIES, replay_webhooks
from core.messages import webhook_handlers
from core.ports import OtherEvent, ReportedStatus
from core.ports.identity import DEFAULT_TENANT
from tests.databases import Urls
from tests.delivery.factories import (
    MAKE_INBOX_DUE,
    OTHER_TENANT,
    fetch_rows,
    inbound_message,
    poison_event,
    sent_message,
    status_report,
)
from tests.delivery.pipeline import MessagePipeline


async def replay_all(pipeline: MessagePipeline) -> None:
    async with pipeline.app.transaction(DEFAULT_TENANT) as connection:
        ids = list((await connection.execute(text("SELECT id FROM inbox"))).scalars())
        assert set((await replay_webhooks(connection, DEFAULT_TENANT, ids)).values()) == {None}


async def test_one_unappliable_event_delays_none_of_fifty(pipeline: MessagePipeline) -> None:
    ids = [await pipeline.accept(body=str(number)) for number in range(50)]
    await pipeline.delivery.drain()
    events = [status_report(one, ReportedStatus.DELIVERED) for one in ids]
    await pipeline.keep(*events[:25], poison_event(), *events[25:])
    assert await pipeline.apply() == 51
    assert {await pipeline.status(one) for one in ids} == {"DELIVERED"}
    assert await fetch_rows(pipeline, "SELECT status, count(*) FROM inbox GROUP BY 1 ORDER BY 1") == [
        ("PROCESSED", 50),
        ("RECEIVED", 1),
    ]
    # It is not due with the next ones.
    later = "SELECT due_at > received_at + interval '1 second' FROM inbox WHERE status = 'RECEIVED'"
    assert await fetch_rows(pipeline, later) == [(True,)]


@pytest.mark.parametrize("kind", ["unappliable", "unreadable", "of another version"])
async def test_what_cannot_be_applied_is_tried_with_growing_pauses_and_parked_at_last(
    pipeline: MessagePipeline, kind: str
) -> None:
    await pipeline.keep(poison_event() if kind == "unappliable" else OtherEvent("poison", "scheduled", "raw"))
    if kind == "unreadable":
        await pipeline.tamper("UPDATE inbox SET event_sealed = '\\x00'")
    if kind == "of another version":
        [[row]] = await fetch_rows(pipeline, "SELECT id FROM inbox")
        sealed = pipeline.sealer.seal("null", tenant=DEFAULT_TENANT, row=row, column="event")  # type: ignore[arg-type]
        await pipeline.tamper("UPDATE inbox SET event_sealed = :sealed", sealed=sealed)
    pauses: list[int] = []
    for number in range(1, MAX_TRIES + 1):
        with capture_logs() as logs:
            await pipeline.apply()
        parked = [one for one in logs if one["event"] == "inbox_parked"]
        assert len(parked) == (1 if number == MAX_TRIES else 0)
        assert all("interalpha webhooks replay" in one["advice"] for one in parked)
        [[status, attempts, pause]] = await fetch_rows(
            pipeline, "SELECT status, attempts, extract(epoch FROM due_at - now())::float FROM inbox"
        )
        assert (status, attempts) == ("FAILED" if number == MAX_TRIES else "RECEIVED", number)
        pauses.append(round(pause / 2))  # type: ignore[operator]
        await pipeline.tamper(MAKE_INBOX_DUE)
    assert pauses == sorted(pauses)
    assert pauses[-1] > 60 > pauses[0]
    letters = await fetch_rows(
        pipeline,
        "SELECT kind, dead.integration, dead.attempts, dead.error, inbox_id = inbox.id FROM dead_letters dead, inbox",
    )
    [[letter_kind, integration, attempts, error, is_its_own]] = letters
    assert (letter_kind, integration, attempts, is_its_own) == ("webhook.apply", "twilio", MAX_TRIES, True)
    assert "cannot be" in str(error)
    assert await pipeline.apply() == 0


async def test_a_locked_message_delays_its_own_report_and_no_other(pipeline: MessagePipeline, urls: Urls) -> None:
    held, free = await sent_message(pipeline), await sent_message(pipeline)
    await pipeline.keep(status_report(held, ReportedStatus.DELIVERED), status_report(free, ReportedStatus.DELIVERED))
    holder = await asyncpg.connect(urls.worker)
    async with holder.transaction():
        await holder.execute("SELECT FROM messages WHERE id = $1 FOR UPDATE", held)
        # Soon, too: not after all the patience a transaction has.
        async with asyncio.timeout(4):
            await pipeline.apply()
        assert [await pipeline.status(one) for one in (held, free)] == ["SENT", "DELIVERED"]
        # The event did not cause it: no attempt is counted.
        assert await fetch_rows(pipeline, "SELECT attempts FROM inbox WHERE status = 'RECEIVED'") == [(0,)]
    await holder.close()
    await pipeline.tamper(MAKE_INBOX_DUE)
    await pipeline.apply()
    assert await pipeline.status(held) == "DELIVERED"


async def test_a_database_failure_costs_no_event_an_attempt(
    pipeline: MessagePipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hangs(*_: object) -> None:
        raise TimeoutError

    await pipeline.keep(inbound_message("+15005550006"))
    with monkeypatch.context() as trouble:
        trouble.setattr(webhook_handlers, "insert_inbound", hangs)
        with pytest.raises(Overloaded):
            await pipeline.apply()
    assert await fetch_rows(pipeline, "SELECT status, attempts, due_at <= now() FROM inbox") == [("RECEIVED", 0, True)]
    assert await pipeline.apply() == 1


@pytest.mark.parametrize("named", [True, False])
async def test_an_event_carries_the_message_it_changed(pipeline: MessagePipeline, named: bool) -> None:
    message_id = await sent_message(pipeline)
    await pipeline.keep(status_report(message_id, ReportedStatus.DELIVERED, named=named))
    await pipeline.apply()
    assert await fetch_rows(pipeline, "SELECT status, message_id FROM inbox") == [("PROCESSED", message_id)]


async def test_a_replayed_report_is_noted_and_changes_nothing(pipeline: MessagePipeline) -> None:
    message_id = await sent_message(pipeline)
    await pipeline.keep(*(status_report(message_id, status) for status in (ReportedStatus.SENT, ReportedStatus.READ)))
    await pipeline.apply()
    before = await pipeline.message(message_id)
    await replay_all(pipeline)
    assert await pipeline.apply() == 2
    after = await pipeline.message(message_id)
    assert (after.status, after.read_at, after.updated_at) == ("READ", before.read_at, before.updated_at)
    assert (await pipeline.statuses(message_id))[-1] == "READ"
    assert await fetch_rows(pipeline, "SELECT DISTINCT status, attempts FROM inbox") == [("PROCESSED", 1)]


async def test_a_replayed_inbound_message_is_stored_once(pipeline: MessagePipeline) -> None:
    await pipeline.keep(inbound_message("+15005550006"))
    for _ in range(3):
        assert await pipeline.apply() == 1
        await replay_all(pipeline)
    # It is stored as processes of the previous version store it, and shown as received.
    [(direction, status, id)] = await fetch_rows(pipeline, "SELECT direction, status, id FROM messages")
    assert (direction, status) == ("INBOUND", "DELIVERED")
    assert (await pipeline.status(id), [one.status for one in await pipeline.events(id)]) == ("RECEIVED", ["RECEIVED"])
    assert await pipeline.count("message_events") == 1
    assert await fetch_rows(pipeline, "SELECT count(*) FROM inbox JOIN messages ON message_id = messages.id") == [(1,)]


async def test_what_was_parked_is_applied_once_its_cause_is_gone(pipeline: MessagePipeline) -> None:
    message_id = await sent_message(pipeline)
    await pipeline.keep(status_report(message_id, ReportedStatus.DELIVERED))
    [[sealed]] = await fetch_rows(pipeline, "SELECT event_sealed FROM inbox")
    await pipeline.tamper("UPDATE inbox SET event_sealed = '\\x00'")
    for _ in range(MAX_TRIES):
        await pipeline.tamper(MAKE_INBOX_DUE)
        await pipeline.apply()
    assert await fetch_rows(pipeline, "SELECT status, resolution FROM inbox, dead_letters") == [("FAILED", None)]
    await pipeline.tamper("UPDATE inbox SET event_sealed = :sealed", sealed=sealed)
    await replay_all(pipeline)
    await pipeline.apply()
    assert await pipeline.status(message_id) == "DELIVERED"
    assert await fetch_rows(pipeline, "SELECT status, resolution FROM inbox, dead_letters") == [
        ("PROCESSED", "REQUEUED")
    ]


async def test_a_replayed_report_about_an_unknown_message_has_its_ten_minutes_again(pipeline: MessagePipeline) -> None:
    await pipeline.keep(status_report(uuid7(), ReportedStatus.DELIVERED))
    await pipeline.tamper("UPDATE inbox SET received_at = now() - interval '11 minutes'")
    await pipeline.apply()
    assert await fetch_rows(pipeline, "SELECT status FROM inbox") == [("FAILED",)]
    await replay_all(pipeline)
    await pipeline.apply()
    assert await fetch_rows(pipeline, "SELECT status FROM inbox") == [("RECEIVED",)]


async def test_what_waits_or_belongs_to_others_is_not_replayed(pipeline: MessagePipeline) -> None:
    await pipeline.keep(inbound_message("+15005550006"))
    [[row]] = await fetch_rows(pipeline, "SELECT id FROM inbox")
    anonymous = uuid7()
    async with pipeline.app.transaction(DEFAULT_TENANT) as connection:
        refusals = await replay_webhooks(connection, DEFAULT_TENANT, [row, anonymous])  # type: ignore[list-item]
    assert isinstance(refusals[row], InvalidState)  # type: ignore[index]
    assert isinstance(refusals[anonymous], NotFound)
    await pipeline.apply()
    async with pipeline.app.transaction(OTHER_TENANT) as connection:
        assert isinstance((await replay_webhooks(connection, OTHER_TENANT, [row]))[row], NotFound)  # type: ignore[list-item,index]


async def test_what_is_processed_while_it_is_asked_for_is_not_called_gone(
    pipeline: MessagePipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    close = module.close_for_webhooks

    async def apply_first(*arguments: Any) -> None:
        await pipeline.apply()
        await close(*arguments)

    monkeypatch.setattr(module, "close_for_webhooks", apply_first)
    await pipeline.keep(status_report(await sent_message(pipeline), ReportedStatus.DELIVERED))
    [(webhook,)] = await fetch_rows(pipeline, "SELECT id FROM inbox")
    async with pipeline.app.transaction(DEFAULT_TENANT) as connection:
        [refusal] = (await replay_webhooks(connection, DEFAULT_TENANT, [webhook])).values()  # type: ignore[list-item]
    assert isinstance(refusal, InvalidState)
    assert (refusal.state, refusal.reason_code) == ("RECEIVED", "WEBHOOK_WAITS_ALREADY")
