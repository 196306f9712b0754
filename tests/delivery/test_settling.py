"""Unconfirmed messages: held while a report may still arrive, then looked up, then decided by their route."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta, tzinfo
from uuid import UUID

import asyncpg
import pytest
from sqlalchemy import text
from structlog.testing import capture_logs

from core.errors import ProviderRejected
from core.ids import uuid7
from core.liveness import Activity, ActivityReporter
from core.messages import reconcile
from core.messages.claim import GIVE_UP_AFTER
from core.messages.commands import Decision, SettleRequest, settle_by_hand
from core.messages.reconcile import Reconciler
from core.messages.status import UnconfirmedPolicy, make_step
from core.ports import (
    Channel,
    LookupRequest,
    ProviderRecord,
    Receipt,
    Reference,
    ReportedStatus,
    StatusReport,
    TextContent,
)
from core.ports.identity import DEFAULT_TENANT
from tests.databases import Urls
from tests.delivery.factories import (
    QUICK_TIMING,
    SMS,
    FakeLookup,
    lose_answer,
    make_settler,
    record_an_hour_of_uptime,
    unconfirmed_message,
)
from tests.delivery.pipeline import FakeSender, MessagePipeline


async def test_an_unconfirmed_message_is_held_before_anything_is_decided(pipeline: MessagePipeline) -> None:
    pipeline.sender.answer = lose_answer
    message_id = await pipeline.accept()
    await pipeline.delivery.drain()
    await record_an_hour_of_uptime(pipeline)
    assert await make_settler(pipeline, FakeLookup()).settle_due() == 0
    assert (await pipeline.attempts(message_id))[0].outcome == "UNCONFIRMED"


async def test_a_look_up_settles_an_unconfirmed_message(pipeline: MessagePipeline) -> None:
    message_id = await unconfirmed_message(pipeline)
    lookup = FakeLookup([ProviderRecord("SMabc", ReportedStatus.DELIVERED)])
    assert await make_settler(pipeline, lookup).settle_due() == 1
    assert await pipeline.status(message_id) == "DELIVERED"
    assert (await pipeline.attempts(message_id))[0].provider_message_id == "SMabc"
    [sought] = lookup.sought
    assert (sought.to, sought.content, sought.provider_message_id) == ("+5511987654321", TextContent("Olá"), None)


async def test_a_look_up_without_a_final_status_still_proves_acceptance(pipeline: MessagePipeline) -> None:
    message_id = await unconfirmed_message(pipeline)
    await make_settler(pipeline, FakeLookup([ProviderRecord("SMabc", None)])).settle_due()
    assert await pipeline.status(message_id) == "SENT"


async def test_a_result_for_another_message_is_not_used_for_this_one(pipeline: MessagePipeline) -> None:
    pipeline.sender.answer = lambda message: Receipt("SMother")
    await pipeline.accept()
    await pipeline.delivery.drain()
    message_id = await unconfirmed_message(pipeline)
    await make_settler(pipeline, FakeLookup([ProviderRecord("SMother", ReportedStatus.DELIVERED)])).settle_due()
    assert await pipeline.status(message_id) == "UNCONFIRMED"


OTHER = "+5511912345678"


class ByText(FakeLookup):
    """A look-up that returns texts and recipients, as a provider's list does."""

    async def find(self, sought: LookupRequest) -> Sequence[ProviderRecord]:
        self.sought.append(sought)
        assert isinstance(sought.content, TextContent)
        return [one for one in self.found if one.provider_message_id.startswith(sought.content.text)]


async def look(pipeline: MessagePipeline, lookup: FakeLookup, *, limit: int = 50) -> None:
    await pipeline.tamper("UPDATE messages SET due_at = now() WHERE status = 'UNCONFIRMED'")
    await make_settler(pipeline, lookup).settle_due(limit=limit)


async def signed(
    pipeline: MessagePipeline, message_id: UUID, id: str, status: ReportedStatus, tenant: UUID = DEFAULT_TENANT
) -> None:
    """A signed report that names its message, applied."""
    key = f"{message_id} {id} {status}"
    reference = Reference(tenant, message_id, 1)
    await pipeline.keep(
        StatusReport(key, status.lower(), "{}", status=status, reference=reference, provider_message_id=id)
    )
    await pipeline.apply()


@pytest.mark.parametrize("policy", UnconfirmedPolicy)
async def test_one_provider_record_for_two_similar_messages_settles_neither(
    pipeline: MessagePipeline, policy: UnconfirmedPolicy
) -> None:
    route = [make_step(SMS, on_unconfirmed=policy), make_step(Channel.WHATSAPP)]
    pipeline.serve(Channel.WHATSAPP, "whatsapp")
    first, second = await unconfirmed_message(pipeline, *route), await unconfirmed_message(pipeline, *route)
    lookup = FakeLookup([ProviderRecord("SMone", ReportedStatus.DELIVERED)])
    # Looked at together, or each by itself.
    for limit in (50, 1, 1):
        await look(pipeline, lookup, limit=limit)
        assert [await pipeline.status(first), await pipeline.status(second)] == ["UNCONFIRMED", "UNCONFIRMED"], limit
    # Whose it is, the report says; and then the list has nothing left for the other one.
    await signed(pipeline, second, "SMone", ReportedStatus.DELIVERED)
    await look(pipeline, lookup)
    left = {"WAIT": "UNCONFIRMED", "RESEND": "QUEUED", "NEXT_CHANNEL": "QUEUED"}[policy.value]
    assert [await pipeline.status(first), await pipeline.status(second)] == [left, "DELIVERED"]


async def test_a_message_settled_by_hand_as_sent_may_still_be_the_record(pipeline: MessagePipeline) -> None:
    first, second = await unconfirmed_message(pipeline), await unconfirmed_message(pipeline)
    await settle_by_hand(pipeline.outbox, DEFAULT_TENANT, SettleRequest(first, Decision.SENT))
    lookup = FakeLookup([ProviderRecord("SMone", ReportedStatus.DELIVERED)])
    await look(pipeline, lookup)
    assert [await pipeline.status(first), await pipeline.status(second)] == ["SENT", "UNCONFIRMED"]
    # The report names the first: nothing but the second can be what comes into the list now.
    await signed(pipeline, first, "SMone", ReportedStatus.DELIVERED)
    await look(
        pipeline,
        FakeLookup([ProviderRecord("SMone", ReportedStatus.DELIVERED), ProviderRecord("SMtwo", ReportedStatus.SENT)]),
    )
    assert [await pipeline.status(first), await pipeline.status(second)] == ["DELIVERED", "SENT"]


async def test_as_many_records_as_messages_alike_do_not_say_whose_each_is(pipeline: MessagePipeline) -> None:
    first, second = await unconfirmed_message(pipeline), await unconfirmed_message(pipeline)
    lookup = FakeLookup(
        [ProviderRecord("SMone", ReportedStatus.DELIVERED), ProviderRecord("SMtwo", ReportedStatus.FAILED)]
    )
    await look(pipeline, lookup)
    assert [await pipeline.status(first), await pipeline.status(second)] == ["UNCONFIRMED", "UNCONFIRMED"]
    await signed(pipeline, first, "SMtwo", ReportedStatus.FAILED)
    # Nothing but the other one can be the record that is left.
    await look(pipeline, lookup)
    assert [await pipeline.status(first), await pipeline.status(second)] == ["FAILED", "DELIVERED"]


async def test_two_records_for_one_message_settle_nothing(pipeline: MessagePipeline) -> None:
    message_id = await unconfirmed_message(pipeline, policy=UnconfirmedPolicy.RESEND)
    await look(
        pipeline,
        FakeLookup([ProviderRecord("SMone", ReportedStatus.FAILED), ProviderRecord("SMtwo", ReportedStatus.SENT)]),
    )
    assert await pipeline.status(message_id) == "UNCONFIRMED"


async def test_distinguishable_messages_are_settled(pipeline: MessagePipeline) -> None:
    same = (
        await unconfirmed_message(pipeline),
        await unconfirmed_message(pipeline, words="Tchau"),
        await unconfirmed_message(pipeline, phone=OTHER, words="Oi"),
    )
    found = [ProviderRecord(f"{words}1", ReportedStatus.DELIVERED) for words in ("Olá", "Tchau", "Oi")]
    await look(pipeline, ByText(found))
    assert [await pipeline.status(one) for one in same] == ["DELIVERED"] * 3
    assert [(await pipeline.attempts(one))[0].provider_message_id for one in same] == ["Olá1", "Tchau1", "Oi1"]


async def test_a_message_of_another_tenant_may_be_the_record_as_well(pipeline: MessagePipeline, urls: Urls) -> None:
    other = uuid7()
    owner = await asyncpg.connect(urls.direct)
    await owner.execute("INSERT INTO tenants VALUES ($1, $2, 'Another', 'UTC', 'EUR')", other, other.hex)
    await owner.close()
    first, _ = await unconfirmed_message(pipeline), await unconfirmed_message(pipeline, tenant=other)
    await look(pipeline, FakeLookup([ProviderRecord("SMone", ReportedStatus.DELIVERED)]))
    assert await pipeline.status(first) == "UNCONFIRMED"


async def test_one_that_is_under_way_just_now_may_be_the_record_as_well(pipeline: MessagePipeline) -> None:
    message_id = await unconfirmed_message(pipeline)
    pipeline.sender.gate.clear()
    pipeline.sender.answer = lambda message: Receipt("SMother")
    second = await pipeline.accept()
    drain = asyncio.create_task(pipeline.delivery.drain())
    while await pipeline.status(second) != "SENDING":
        await asyncio.sleep(0.01)
    lookup = FakeLookup([ProviderRecord("SMother", ReportedStatus.DELIVERED)])
    await look(pipeline, lookup)
    assert await pipeline.status(message_id) == "UNCONFIRMED"
    pipeline.sender.gate.set()
    await drain
    await look(pipeline, lookup)
    assert (await pipeline.status(message_id), await pipeline.status(second)) == ("UNCONFIRMED", "SENT")


@pytest.mark.parametrize("listed", [ReportedStatus.DELIVERED, ReportedStatus.FAILED, None])
async def test_a_signed_report_corrects_what_the_list_seemed_to_show(
    pipeline: MessagePipeline, listed: ReportedStatus | None
) -> None:
    first = await unconfirmed_message(pipeline)
    await look(pipeline, FakeLookup([ProviderRecord("SMone", listed)]))
    assert (await pipeline.status(first)) == (listed or ReportedStatus.SENT).value
    second = await unconfirmed_message(pipeline)
    await signed(pipeline, second, "SMone", ReportedStatus.SENT)
    message = await pipeline.message(first)
    assert (message.status, message.sent_at, message.delivered_at) == ("UNCONFIRMED", None, None)
    assert (await pipeline.attempts(first))[0].provider_message_id is None
    # What was known of the record is known of the message that it belongs to.
    assert await pipeline.status(second) == (listed or ReportedStatus.SENT).value
    assert (await pipeline.attempts(second))[0].provider_message_id == "SMone"
    assert "another message's" in ((await pipeline.events(first))[-1].detail or "")
    # The one whose record it was not is settled by its own.
    await signed(pipeline, first, "SMtwo", ReportedStatus.READ)
    assert (await pipeline.status(first), await pipeline.status(second)) == (
        "READ",
        (listed or ReportedStatus.SENT).value,
    )


async def test_its_own_report_says_that_the_record_was_another_one_s(pipeline: MessagePipeline) -> None:
    message_id = await unconfirmed_message(pipeline)
    await look(pipeline, FakeLookup([ProviderRecord("SMone", ReportedStatus.DELIVERED)]))
    await signed(pipeline, message_id, "SMtwo", ReportedStatus.SENT)
    assert await pipeline.status(message_id) == "SENT"
    assert (await pipeline.attempts(message_id))[0].provider_message_id == "SMtwo"


async def test_what_its_own_answer_named_is_not_taken_away(pipeline: MessagePipeline) -> None:
    pipeline.sender.answer = lambda message: Receipt("SMone")
    first = await pipeline.accept()
    await pipeline.delivery.drain()
    second = await unconfirmed_message(pipeline)
    await signed(pipeline, second, "SMone", ReportedStatus.DELIVERED)
    assert (await pipeline.status(first), await pipeline.status(second)) == ("SENT", "DELIVERED")
    held = [(await pipeline.attempts(one))[0].provider_message_id for one in (first, second)]
    assert held == ["SMone", None]


async def test_nothing_is_decided_while_the_provider_cannot_be_asked(pipeline: MessagePipeline) -> None:
    message_id = await unconfirmed_message(pipeline, policy=UnconfirmedPolicy.RESEND)
    await make_settler(pipeline, FakeLookup(is_away=True)).settle_due()
    assert await pipeline.status(message_id) == "UNCONFIRMED"
    assert (await pipeline.message(message_id)).next_attempt_at is None


async def test_a_route_that_asks_for_it_sends_once_more_and_only_once(pipeline: MessagePipeline) -> None:
    message_id = await unconfirmed_message(pipeline, policy=UnconfirmedPolicy.RESEND)
    await make_settler(pipeline, FakeLookup()).settle_due()
    await pipeline.delivery.drain()
    assert [attempt.outcome for attempt in await pipeline.attempts(message_id)] == ["UNCONFIRMED", "UNCONFIRMED"]
    await pipeline.tamper("UPDATE messages SET due_at = now()")
    await make_settler(pipeline, FakeLookup()).settle_due()
    await pipeline.delivery.drain()
    assert len(pipeline.sender.sent) == 2
    assert await pipeline.status(message_id) == "UNCONFIRMED"


async def test_a_route_that_asks_for_it_goes_on_to_the_next_channel(pipeline: MessagePipeline) -> None:
    route = [make_step(SMS, on_unconfirmed=UnconfirmedPolicy.NEXT_CHANNEL), make_step(Channel.WHATSAPP)]
    pipeline.serve(Channel.WHATSAPP, "whatsapp")
    message_id = await unconfirmed_message(pipeline, *route)
    await make_settler(pipeline, FakeLookup()).settle_due()
    message = await pipeline.message(message_id)
    assert (message.status, message.channel) == ("QUEUED", "WHATSAPP")


async def test_waiting_writes_no_events_and_ends_after_three_days(pipeline: MessagePipeline) -> None:
    message_id = await unconfirmed_message(pipeline)
    before = len(await pipeline.events(message_id))
    await make_settler(pipeline, None).settle_due()
    assert len(await pipeline.events(message_id)) == before
    age = GIVE_UP_AFTER + timedelta(hours=1)
    await pipeline.tamper("UPDATE messages SET due_at = now(), unconfirmed_at = now() - :age ::interval", age=age)
    await make_settler(pipeline, None).settle_due()
    message = await pipeline.message(message_id)
    assert message.status == "FAILED"
    assert message.failure is not None
    assert message.failure.party == "PROVIDER"
    assert await pipeline.count("dead_letters") == 1


async def test_an_unread_report_blocks_settling(pipeline: MessagePipeline) -> None:
    message_id = await unconfirmed_message(pipeline, policy=UnconfirmedPolicy.RESEND)
    reference = pipeline.sender.sent[0].reference
    await pipeline.keep(StatusReport("k", "delivered", "{}", status=ReportedStatus.DELIVERED, reference=reference))
    assert await make_settler(pipeline, FakeLookup()).settle_due() == 0
    await pipeline.apply()
    assert await pipeline.status(message_id) == "DELIVERED"


@pytest.mark.parametrize("pulse", Activity)
async def test_while_we_may_have_been_deaf_nothing_is_decided(pipeline: MessagePipeline, pulse: Activity) -> None:
    await unconfirmed_message(pipeline, policy=UnconfirmedPolicy.RESEND)
    await pipeline.tamper(
        "UPDATE pulses SET seen_at = now() - interval '1 minute' WHERE name = :name", name=pulse.value
    )
    assert await make_settler(pipeline, FakeLookup()).settle_due() == 0
    # It continues: the hold starts again at that moment.
    await ActivityReporter(pipeline.worker, pulse).beat()
    assert await make_settler(pipeline, FakeLookup()).settle_due() == 0
    await pipeline.tamper("UPDATE pulses SET resumed_at = now() - interval '31 seconds'")
    assert await make_settler(pipeline, FakeLookup()).settle_due() == 1


async def test_a_settler_that_lost_its_lease_decides_nothing(pipeline: MessagePipeline) -> None:
    message_id = await unconfirmed_message(pipeline, policy=UnconfirmedPolicy.RESEND)

    class Slow(FakeLookup):
        async def find(self, sought: LookupRequest) -> Sequence[ProviderRecord]:
            await pipeline.tamper("UPDATE messages SET lease_until = NULL, lease_token = lease_token + 1")
            return ()

    await make_settler(pipeline, Slow()).settle_due()
    assert await pipeline.status(message_id) == "UNCONFIRMED"


async def test_an_unconfirmed_message_whose_settler_died_is_left_to_the_next_one(pipeline: MessagePipeline) -> None:
    message_id = await unconfirmed_message(pipeline)
    await pipeline.tamper("UPDATE messages SET lease_until = now() - interval '1 second'")
    await pipeline.sweep()
    assert await pipeline.status(message_id) == "UNCONFIRMED"
    assert await make_settler(pipeline, FakeLookup([ProviderRecord("SMabc", ReportedStatus.SENT)])).settle_due() == 1
    assert await pipeline.status(message_id) == "SENT"


async def of_another_version(pipeline: MessagePipeline, message_id: UUID) -> None:
    """Give a message content of an unknown version."""
    sealed = pipeline.sealer.seal('{"kind": "pigeon"}', tenant=DEFAULT_TENANT, row=message_id, column="content")
    await pipeline.tamper("UPDATE messages SET content_sealed = :sealed WHERE id = :id", sealed=sealed, id=message_id)


async def test_an_unconfirmed_message_that_cannot_be_looked_up_waits_and_the_others_are_settled(
    pipeline: MessagePipeline,
) -> None:
    broken, sound = await unconfirmed_message(pipeline, phone=OTHER), await unconfirmed_message(pipeline)
    await of_another_version(pipeline, broken)
    await make_settler(pipeline, FakeLookup([ProviderRecord("SMabc", ReportedStatus.DELIVERED)])).settle_due()
    assert await pipeline.status(sound) == "DELIVERED"
    assert await pipeline.count("messages WHERE status = 'UNCONFIRMED' AND lease_until IS NULL") == 1


async def test_a_report_that_is_overdue_is_asked_for(pipeline: MessagePipeline) -> None:
    pipeline.sender.answer = FakeSender().answer
    message_id = await pipeline.accept()
    await pipeline.delivery.drain()
    lookup = FakeLookup([ProviderRecord(f"SM{message_id.hex}", ReportedStatus.DELIVERED)])
    reconciler = Reconciler(pipeline.worker, pipeline.sealer, pipeline.hub, {"twilio": lookup}, QUICK_TIMING)
    assert await reconciler.ask_for_reports() == 0
    await pipeline.tamper("UPDATE attempts SET started_at = now() - interval '16 minutes'")
    assert await reconciler.ask_for_reports() == 1
    assert await pipeline.status(message_id) == "DELIVERED"
    assert await reconciler.ask_for_reports() == 0


@pytest.mark.parametrize("is_row", [False, True])
async def test_an_unreadable_report_blocks_no_other_report(pipeline: MessagePipeline, is_row: bool) -> None:
    pipeline.sender.answer = FakeSender().answer
    broken, sound = await pipeline.accept(), await pipeline.accept()
    await pipeline.delivery.drain()
    await pipeline.tamper("UPDATE attempts SET started_at = now() - interval '16 minutes'")
    if is_row:
        await pipeline.tamper("""UPDATE messages SET route = '[{"channel": "PIGEON"}]' WHERE id = :id""", id=broken)
    else:
        await of_another_version(pipeline, broken)
    lookup = FakeLookup([ProviderRecord(f"SM{one.hex}", ReportedStatus.DELIVERED) for one in (broken, sound)])
    await Reconciler(pipeline.worker, pipeline.sealer, pipeline.hub, {"twilio": lookup}, QUICK_TIMING).ask_for_reports()
    assert await pipeline.status(sound) == "DELIVERED"
    # A message the provider accepted is not marked as failed because this version cannot read it.
    assert await pipeline.count("messages WHERE status = 'SENT'") == 1


async def test_what_is_still_undecided_is_not_asked_for_again_at_once(pipeline: MessagePipeline) -> None:
    pipeline.sender.answer = FakeSender().answer
    message_id = await pipeline.accept()
    await pipeline.delivery.drain()
    await pipeline.tamper("UPDATE attempts SET started_at = now() - interval '16 minutes'")
    lookup = FakeLookup([ProviderRecord(f"SM{message_id.hex}", None)])
    reconciler = Reconciler(pipeline.worker, pipeline.sealer, pipeline.hub, {"twilio": lookup}, QUICK_TIMING)
    assert [await reconciler.ask_for_reports(), await reconciler.ask_for_reports()] == [1, 0]
    assert await pipeline.status(message_id) == "SENT"


async def test_days_are_counted_once_and_differences_kept(pipeline: MessagePipeline) -> None:
    reconciler = Reconciler(
        pipeline.worker, pipeline.sealer, pipeline.hub, {"twilio": FakeLookup(counted=3)}, QUICK_TIMING
    )
    await reconciler.count_days()
    await reconciler.count_days()
    async with pipeline.worker.transaction() as connection:
        rows = (await connection.exec_driver_sql("SELECT ours, theirs FROM daily_counts")).all()
    assert [tuple(row) for row in rows] == [(0, 3), (0, 3)]


async def test_a_provider_that_cannot_be_asked_is_named_with_its_reason_and_delays_no_other(
    pipeline: MessagePipeline,
) -> None:
    class Failing(FakeLookup):
        error: Exception = TimeoutError()

        async def find(self, sought: LookupRequest) -> Sequence[ProviderRecord]:
            raise self.error

        async def count(self, day: date) -> int | None:
            raise self.error

    pipeline.sender.answer = FakeSender().answer
    await pipeline.accept()
    await pipeline.delivery.drain()
    failing = Failing()
    lookups = {"twilio": failing, "other": FakeLookup(counted=0)}
    reconciler = Reconciler(pipeline.worker, pipeline.sealer, pipeline.hub, lookups, QUICK_TIMING)
    refused = ProviderRejected("Twilio does not accept a parameter.", provider="twilio", provider_code="20001")
    for error, reason, code in (
        (refused, "Twilio does not accept a parameter.", "20001"),
        (TimeoutError(), "no whole answer within ", None),
        (ZeroDivisionError("ours"), None, None),
    ):
        failing.error = error
        await pipeline.tamper("UPDATE attempts SET started_at = now() - interval '16 minutes', checked_at = NULL")
        with capture_logs() as logs:
            await reconciler.count_days(days=1)
            await reconciler.ask_for_reports()
        told = [one for one in logs if one["event"].startswith(("daily_count", "look_up"))]
        assert [one["integration"] for one in told] == ["twilio", "twilio"], logs
        for one in told:
            if reason is None:
                assert one["exc_info"]
            else:
                assert one["reason"].startswith(reason)
                assert one.get("provider_code") == code
    assert await pipeline.count("daily_counts WHERE integration = 'other'") == 1
    assert await pipeline.count("daily_counts WHERE integration = 'twilio'") == 0


async def test_a_day_is_over_when_the_database_says_so(
    pipeline: MessagePipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Tomorrow(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> "Tomorrow":
            return cls.fromtimestamp(datetime.now(UTC).timestamp() + 86_400, tz)

    monkeypatch.setattr(reconcile, "datetime", Tomorrow)
    await Reconciler(
        pipeline.worker, pipeline.sealer, pipeline.hub, {"twilio": FakeLookup()}, QUICK_TIMING
    ).count_days()
    async with pipeline.worker.transaction() as connection:
        days = (await connection.execute(text("SELECT (now() AT TIME ZONE 'UTC')::date - day FROM daily_counts"))).all()
    assert sorted(row[0] for row in days) == [1, 2]


async def test_an_overdue_report_that_cannot_be_asked_for_does_not_hold_up_the_others(
    pipeline: MessagePipeline,
) -> None:
    pipeline.sender.answer = FakeSender().answer
    first, second = await pipeline.accept(), await pipeline.accept()
    await pipeline.delivery.drain()
    await pipeline.tamper("UPDATE attempts SET started_at = now() - interval '16 minutes'")

    class Odd(FakeLookup):
        async def find(self, sought: LookupRequest) -> Sequence[ProviderRecord]:
            if sought.reference.message_id == first:
                raise KeyError("sid")
            return [ProviderRecord(f"SM{second.hex}", ReportedStatus.DELIVERED)]

    await Reconciler(pipeline.worker, pipeline.sealer, pipeline.hub, {"twilio": Odd()}, QUICK_TIMING).ask_for_reports()
    assert (await pipeline.status(first), await pipeline.status(second)) == ("SENT", "DELIVERED")


async def test_an_unreadable_unconfirmed_message_is_parked_and_the_others_are_settled(
    pipeline: MessagePipeline,
) -> None:
    broken, sound = await unconfirmed_message(pipeline, phone=OTHER), await unconfirmed_message(pipeline)
    await pipeline.tamper("""UPDATE messages SET route = '[{"channel": "PIGEON"}]' WHERE id = :id""", id=broken)
    await make_settler(pipeline, FakeLookup([ProviderRecord("SMabc", ReportedStatus.DELIVERED)])).settle_due()
    assert await pipeline.status(sound) == "DELIVERED"
    assert await pipeline.count("dead_letters") == 1
