"""Provider reports: stored once, applied forward only, early, late, twice or reversed; inbound messages are stored."""

from itertools import permutations
from uuid import uuid4

import asyncpg
import pytest
from sqlalchemy import text

from core.access.directory import register_senders
from core.errors import OutcomeUnknown
from core.ports import (
    OtherEvent,
    OutboundMessage,
    Receipt,
    ReportedStatus,
    TextContent,
)
from core.ports.identity import DEFAULT_TENANT
from tests.databases import Urls
from tests.delivery.factories import INVALID_NUMBER, OTHER_TENANT, inbound_message, sent_message, status_report
from tests.delivery.pipeline import MessagePipeline


async def test_a_report_moves_its_message_and_says_when(pipeline: MessagePipeline) -> None:
    message_id = await sent_message(pipeline)
    await pipeline.keep(status_report(message_id, ReportedStatus.DELIVERED))
    assert await pipeline.status(message_id) == "SENT"
    assert await pipeline.apply() == 1
    message = await pipeline.message(message_id)
    assert message.status == "DELIVERED"
    assert message.delivered_at is not None
    assert await pipeline.apply() == 0


async def test_the_same_report_twice_is_kept_once(pipeline: MessagePipeline) -> None:
    message_id = await sent_message(pipeline)
    one = status_report(message_id, ReportedStatus.DELIVERED)
    assert [await pipeline.keep(one), await pipeline.keep(one), await pipeline.keep(one, one)] == [1, 0, 0]
    await pipeline.apply()
    assert await pipeline.statuses(message_id) == ["QUEUED", "SENDING", "SENT", "DELIVERED"]


async def test_reports_in_any_order_end_in_read_and_each_is_kept_as_an_event(pipeline: MessagePipeline) -> None:
    for order in permutations(ReportedStatus):
        message_id = await sent_message(pipeline)
        for status in order:
            await pipeline.keep(status_report(message_id, status))
            await pipeline.apply()
        assert await pipeline.status(message_id) == "READ", order
        assert len(await pipeline.events(message_id)) == 3 + len(order)


async def test_a_whole_batch_for_one_message_is_applied_at_once(pipeline: MessagePipeline) -> None:
    message_id = await sent_message(pipeline)
    await pipeline.keep(*(status_report(message_id, status) for status in reversed(ReportedStatus)))
    assert await pipeline.apply() == 4
    assert await pipeline.status(message_id) == "READ"


async def test_a_report_that_overtakes_our_own_answer_is_not_undone_by_it(pipeline: MessagePipeline) -> None:
    async def answer(message: OutboundMessage) -> Receipt:
        await pipeline.keep(status_report(message.reference.message_id, ReportedStatus.DELIVERED))
        await pipeline.apply()
        return Receipt("SM1")

    pipeline.delivery.sender.send = answer  # type: ignore[method-assign]
    message_id = await pipeline.accept()
    await pipeline.delivery.drain()
    assert await pipeline.statuses(message_id) == ["QUEUED", "SENDING", "DELIVERED"]


async def test_a_report_settles_an_unconfirmed_message(pipeline: MessagePipeline) -> None:
    def lost(_: OutboundMessage) -> Receipt:
        raise OutcomeUnknown("The line broke.", provider="twilio")

    pipeline.sender.answer = lost
    message_id = await sent_message(pipeline)
    assert await pipeline.status(message_id) == "UNCONFIRMED"
    await pipeline.keep(status_report(message_id, ReportedStatus.SENT))
    await pipeline.apply()
    assert await pipeline.status(message_id) == "SENT"
    [attempt] = await pipeline.attempts(message_id)
    assert (attempt.outcome, attempt.provider_message_id) == ("ACCEPTED", f"SM{message_id.hex}")


async def test_a_report_without_our_reference_is_found_by_the_provider_id(pipeline: MessagePipeline) -> None:
    message_id = await sent_message(pipeline)
    await pipeline.keep(status_report(message_id, ReportedStatus.DELIVERED, named=False))
    await pipeline.apply()
    assert await pipeline.status(message_id) == "DELIVERED"


@pytest.mark.parametrize("named", [True, False])
async def test_a_report_about_a_message_not_known_yet_waits_for_it(pipeline: MessagePipeline, named: bool) -> None:
    """Its webhook came before our own commit: nothing is lost, and it is applied once there is something to apply."""
    stranger = uuid4()
    await pipeline.keep(status_report(stranger, ReportedStatus.DELIVERED, named=named))
    assert await pipeline.apply() == 1
    assert await inbox_states(pipeline) == ["RECEIVED"]
    message_id = await sent_message(pipeline)
    await pipeline.tamper(
        "UPDATE attempts SET provider_id_lookup = :sid", sid=pipeline.sealer.id_hash(f"SM{stranger.hex}")
    )
    await pipeline.tamper("UPDATE inbox SET due_at = now()")
    await pipeline.apply()
    expected = ("SENT", ["RECEIVED"]) if named else ("DELIVERED", ["PROCESSED"])
    assert (await pipeline.status(message_id), await inbox_states(pipeline)) == expected


@pytest.mark.parametrize(("named", "end"), [(True, "FAILED"), (False, "IGNORED")])
async def test_a_report_that_matches_no_message_is_closed_after_a_while_and_stays_visible(
    pipeline: MessagePipeline, named: bool, end: str
) -> None:
    await pipeline.keep(status_report(uuid4(), ReportedStatus.DELIVERED, named=named))
    await pipeline.apply()
    await pipeline.tamper("UPDATE inbox SET due_at = now(), received_at = now() - interval '11 minutes'")
    await pipeline.apply()
    async with pipeline.worker.transaction() as connection:
        row = (await connection.execute(text("SELECT status, error FROM inbox"))).one()
    assert row.status == end
    assert "no message" in row.error
    # A report that names one of our messages points to a mistake, theirs or ours: an operator should know.
    assert await pipeline.count("dead_letters WHERE kind = 'webhook.apply'") == (1 if named else 0)


async def test_a_late_failure_after_delivery_is_noted_and_changes_nothing(pipeline: MessagePipeline) -> None:
    message_id = await sent_message(pipeline)
    for status in (ReportedStatus.DELIVERED, ReportedStatus.FAILED):
        await pipeline.keep(status_report(message_id, status))
        await pipeline.apply()
    message = await pipeline.message(message_id)
    assert (message.status, message.failure) == ("DELIVERED", None)
    assert "noted" in ((await pipeline.events(message_id))[-1].detail or "")


async def test_delivery_after_failure_wins(pipeline: MessagePipeline) -> None:
    message_id = await sent_message(pipeline)
    await pipeline.keep(status_report(message_id, ReportedStatus.FAILED))
    await pipeline.apply()
    message = await pipeline.message(message_id)
    assert (message.status, message.failure) == ("FAILED", INVALID_NUMBER)
    await pipeline.keep(status_report(message_id, ReportedStatus.DELIVERED))
    await pipeline.apply()
    message = await pipeline.message(message_id)
    assert (message.status, message.failure) == ("DELIVERED", None)


async def test_an_inbound_message_goes_to_the_owner_of_the_number(pipeline: MessagePipeline, urls: Urls) -> None:
    owner = await asyncpg.connect(urls.direct)
    await owner.execute(
        "INSERT INTO tenants (id, slug, name, time_zone, default_currency) VALUES ($1, 'b', 'B', 'UTC', 'BRL')",
        OTHER_TENANT,
    )
    await owner.execute("INSERT INTO senders VALUES ($1, 'twilio', '+15005550001')", OTHER_TENANT)
    await owner.close()
    # What another tenant has already is not taken away from it.
    await register_senders(pipeline.worker, [("twilio", "+15005550006"), ("twilio", "+15005550001")])
    await pipeline.keep(
        inbound_message("+15005550001", body="para B"),
        inbound_message("+15005550006", body="SIM"),
        inbound_message("+1999", body="?"),
    )
    assert await pipeline.apply() == 3
    async with pipeline.worker.transaction() as connection:
        rows = (await connection.execute(text("SELECT id, tenant_id, direction, from_masked FROM messages"))).all()
    found = [(row.tenant_id, await pipeline.message(row.id, row.tenant_id)) for row in rows]
    assert {(tenant, message.content) for tenant, message in found} == {
        (OTHER_TENANT, TextContent("para B")),
        (DEFAULT_TENANT, TextContent("SIM")),
        (DEFAULT_TENANT, TextContent("?")),
    }
    assert {(row.direction, row.from_masked) for row in rows} == {("INBOUND", "+55 11 9••••-5678")}
    assert {message.sender for _, message in found} == {"+5511912345678"}


async def test_an_event_without_a_handler_is_kept_as_ignored(pipeline: MessagePipeline) -> None:
    await pipeline.keep(OtherEvent("k1", "scheduled", "raw"))
    await pipeline.apply()
    assert await inbox_states(pipeline) == ["IGNORED"]


async def test_provider_events_are_stored_sealed(pipeline: MessagePipeline) -> None:
    await pipeline.keep(inbound_message("+15005550006", body="segredo-da-ana"))
    async with pipeline.worker.transaction() as connection:
        [row] = (await connection.execute(text("SELECT inbox::text FROM inbox"))).scalars()
    for secret in (b"segredo-da-ana", b"5511912345678"):
        assert secret.decode() not in row
        assert secret.hex() not in row


async def inbox_states(pipeline: MessagePipeline) -> list[str]:
    async with pipeline.worker.transaction() as connection:
        return list((await connection.execute(text("SELECT status FROM inbox"))).scalars())
