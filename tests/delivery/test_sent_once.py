"""Nothing is sent twice: what an unread report, or a report during a retry, proves."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from uuid import UUID

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from core import backoff
from core.errors import (
    FailureParty,
    FailureReason,
    OutcomeUnknown,
    ProviderError,
    ProviderRejected,
    ProviderUnavailable,
)
from core.messages import delivery, sending
from core.messages.claim import Claimed, Timing, begin, claim
from core.messages.sending import CallResult, with_quoted_ids
from core.messages.status import RouteGoal, Step, UnconfirmedPolicy, make_step
from core.ports import Channel, LookupRequest, OutboundMessage, ProviderRecord, Receipt, ReportedStatus
from core.sealing import Sealer
from tests.delivery.factories import (
    SMS_THEN_WHATSAPP,
    FakeLookup,
    accepted_message,
    apply_report,
    make_settler,
    status_report,
    unconfirmed_message,
)
from tests.delivery.pipeline import MessagePipeline

TIMING = Timing()
RESEND = UnconfirmedPolicy.RESEND


def raising(error: ProviderError) -> object:
    def answer(_: OutboundMessage) -> Receipt:
        raise error

    return answer


AWAY = raising(ProviderUnavailable("away", provider="twilio"))
LOST = raising(OutcomeUnknown("lost", provider="twilio"))


@pytest.fixture(autouse=True)
def long_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """The shortest pauses before another try are shorter than a drain: here they are the longest."""
    monkeypatch.setattr(backoff.random, "uniform", lambda least, most: most)


async def sent_once_more(pipeline: MessagePipeline, answer: object, *route: Step) -> UUID:
    """An unconfirmed message that its route sends once more; that call ends as `answer` says."""
    message_id = await unconfirmed_message(pipeline, *(route or [make_step(Channel.SMS, on_unconfirmed=RESEND)]))
    await make_settler(pipeline, FakeLookup()).settle_due()
    pipeline.sender.answer = answer  # type: ignore[assignment]
    await pipeline.delivery.drain()
    assert len(pipeline.sender.sent) == 2
    return message_id


async def test_a_step_with_an_unread_report_does_not_fall_back(pipeline: MessagePipeline) -> None:
    message_id = await accepted_message(pipeline, SMS_THEN_WHATSAPP)
    await pipeline.delivery.drain()
    await pipeline.tamper("UPDATE messages SET step_until = now(), due_at = now()")
    await pipeline.keep(status_report(message_id, ReportedStatus.DELIVERED))
    await pipeline.sweep()
    assert await pipeline.status(message_id) == "SENT"
    await pipeline.apply()
    await pipeline.sweep()
    assert (await pipeline.message(message_id)).channel == "SMS"
    assert await pipeline.status(message_id) == "DELIVERED"


async def test_a_report_that_arrives_during_a_look_up_is_applied_before_the_route_decides(
    pipeline: MessagePipeline,
) -> None:
    message_id = await unconfirmed_message(pipeline, policy=RESEND)

    class Told(FakeLookup):
        async def find(self, sought: LookupRequest) -> Sequence[ProviderRecord]:
            await pipeline.keep(status_report(message_id, ReportedStatus.DELIVERED))
            return ()

    await make_settler(pipeline, Told()).settle_due()
    assert await pipeline.status(message_id) == "UNCONFIRMED"
    await pipeline.delivery.drain()
    await pipeline.apply()
    assert (await pipeline.status(message_id), len(pipeline.sender.sent)) == ("DELIVERED", 1)


async def test_what_was_taken_after_all_is_not_sent_a_third_time(pipeline: MessagePipeline) -> None:
    message_id = await sent_once_more(pipeline, LOST)
    await apply_report(pipeline, message_id, ReportedStatus.SENT)
    await pipeline.tamper("UPDATE messages SET due_at = now() WHERE due_at IS NOT NULL")
    await make_settler(pipeline, FakeLookup()).settle_due()
    await pipeline.delivery.drain()
    assert (await pipeline.status(message_id), len(pipeline.sender.sent)) == ("SENT", 2)


async def test_what_was_taken_after_all_ends_the_wait_for_another_try(pipeline: MessagePipeline) -> None:
    message_id = await sent_once_more(pipeline, AWAY)
    await apply_report(pipeline, message_id, ReportedStatus.SENT)
    assert await pipeline.status(message_id) == "SENT"


async def test_a_message_found_to_be_accepted_is_not_begun_by_a_worker_that_claimed_it(
    pipeline: MessagePipeline,
) -> None:
    message_id = await unconfirmed_message(pipeline, policy=RESEND)
    await make_settler(pipeline, FakeLookup()).settle_due()
    async with pipeline.worker.transaction() as connection:
        claimed = await claim(connection, Channel.SMS, "twilio", worker="w", limit=10, timing=TIMING)
    await apply_report(pipeline, message_id, ReportedStatus.SENT)
    async with pipeline.worker.transaction() as connection:
        assert await begin(connection, claimed, TIMING) == set()
    # What it had claimed never was an attempt: the one that was taken still decides.
    await apply_report(pipeline, message_id, ReportedStatus.FAILED)
    assert await pipeline.status(message_id) == "FAILED"


async def test_a_no_to_the_second_send_does_not_undo_that_the_first_was_taken(pipeline: MessagePipeline) -> None:
    pipeline.serve(Channel.WHATSAPP, "whatsapp")
    message_id = await unconfirmed_message(
        pipeline, make_step(Channel.SMS, on_unconfirmed=RESEND), make_step(Channel.WHATSAPP)
    )
    await make_settler(pipeline, FakeLookup()).settle_due()

    async def overtaken(message: OutboundMessage) -> Receipt:
        await apply_report(pipeline, message_id, ReportedStatus.SENT)
        raise ProviderRejected("no", provider="twilio")

    pipeline.delivery.sender.send = overtaken  # type: ignore[method-assign]
    await pipeline.delivery.drain()
    message = await pipeline.message(message_id)
    assert (message.status, message.channel) == ("SENT", "SMS")
    # Once that one has failed, too, nothing is left of the step.
    await apply_report(pipeline, message_id, ReportedStatus.FAILED)
    message = await pipeline.message(message_id)
    assert (message.status, message.channel) == ("QUEUED", "WHATSAPP")


async def test_an_unconfirmed_channel_that_reached_its_goal_stops_the_next_one(
    pipeline: MessagePipeline,
) -> None:
    pipeline.serve(Channel.WHATSAPP, "whatsapp")
    first = make_step(Channel.SMS, until=RouteGoal.SENT, on_unconfirmed=UnconfirmedPolicy.NEXT_CHANNEL)
    message_id = await unconfirmed_message(pipeline, first, make_step(Channel.WHATSAPP))
    await make_settler(pipeline, FakeLookup()).settle_due()
    assert (await pipeline.message(message_id)).channel == "WHATSAPP"
    await apply_report(pipeline, message_id, ReportedStatus.SENT)
    message = await pipeline.message(message_id)
    assert (message.status, message.channel, message.next_attempt_at) == ("SENT", "SMS", None)


async def test_a_step_that_runs_out_of_time_between_claim_and_start_is_not_begun(pipeline: MessagePipeline) -> None:
    await accepted_message(pipeline, SMS_THEN_WHATSAPP)
    async with pipeline.worker.transaction() as connection:
        claimed = await claim(connection, Channel.SMS, "twilio", worker="w", limit=10, timing=TIMING)
    await pipeline.tamper("UPDATE messages SET step_until = now()")
    async with pipeline.worker.transaction() as connection:
        assert await begin(connection, claimed, TIMING) == set()


async def test_two_settlers_do_not_take_one_sighting_for_two_messages(pipeline: MessagePipeline) -> None:
    # Not alike, so that the list is used at all.
    first, second = await unconfirmed_message(pipeline), await unconfirmed_message(pipeline, phone="+5511912345678")
    met = asyncio.Barrier(2)

    class Met(FakeLookup):
        async def find(self, sought: LookupRequest) -> Sequence[ProviderRecord]:
            async with asyncio.timeout(5):
                await met.wait()
            return [ProviderRecord("SMone", ReportedStatus.DELIVERED)]

    one, other = make_settler(pipeline, Met()), make_settler(pipeline, Met())
    await asyncio.gather(one.settle_due(limit=1), other.settle_due(limit=1))
    assert sorted([await pipeline.status(first), await pipeline.status(second)]) == ["DELIVERED", "UNCONFIRMED"]


async def test_two_attempts_never_hold_one_provider_id(pipeline: MessagePipeline) -> None:
    """The provider names two messages alike: both were sent, and the first keeps the id."""
    pipeline.sender.answer = lambda message: Receipt("SMsame")
    other = replace(pipeline.delivery, sender=pipeline.sender)
    pipeline.sender.gate.clear()
    first, second = await pipeline.accept(), await pipeline.accept(phone="+5511912345678")
    drains = asyncio.gather(pipeline.delivery.drain(), other.drain())
    while len(pipeline.sender.sent) < 2:
        await asyncio.sleep(0.01)
    pipeline.sender.gate.set()
    await drains
    assert [await pipeline.status(first), await pipeline.status(second)] == ["SENT", "SENT"]
    held = [(await pipeline.attempts(one))[0].provider_message_id for one in (first, second)]
    assert sorted(map(str, held)) == ["None", "SMsame"]
    with pytest.raises(Exception, match="ix_attempts_provider_id_lookup"):
        await pipeline.tamper("UPDATE attempts SET provider_id_lookup = :same", same=pipeline.sealer.id_hash("SMsame"))


async def test_what_our_own_call_was_answered_takes_an_id_from_a_list_back(pipeline: MessagePipeline) -> None:
    first = await unconfirmed_message(pipeline)
    await make_settler(pipeline, FakeLookup([ProviderRecord("SMone", ReportedStatus.DELIVERED)])).settle_due()
    assert await pipeline.status(first) == "DELIVERED"
    pipeline.sender.answer = lambda message: Receipt("SMone")
    second = await pipeline.accept(phone="+5511912345678")
    await pipeline.delivery.drain()
    assert [await pipeline.status(first), await pipeline.status(second)] == ["UNCONFIRMED", "SENT"]
    held = [(await pipeline.attempts(one))[0].provider_message_id for one in (first, second)]
    assert held == [None, "SMone"]


async def test_an_unconfirmed_message_that_cannot_be_looked_up_does_not_block_the_others(
    pipeline: MessagePipeline,
) -> None:
    first, second = await unconfirmed_message(pipeline, phone="+5511912345678"), await unconfirmed_message(pipeline)

    class Odd(FakeLookup):
        async def find(self, sought: LookupRequest) -> Sequence[ProviderRecord]:
            if sought.reference.message_id == first:
                raise KeyError("sid")
            return [ProviderRecord("SMone", ReportedStatus.DELIVERED)]

    await make_settler(pipeline, Odd()).settle_due()
    assert (await pipeline.status(first), await pipeline.status(second)) == ("UNCONFIRMED", "DELIVERED")


async def test_an_unconfirmed_message_that_expires_stays_unconfirmed_until_its_outcome_is_known(
    pipeline: MessagePipeline,
) -> None:
    for answer, then in ((ReportedStatus.SENT, "SENT"), (ReportedStatus.FAILED, "FAILED"), (None, "UNCONFIRMED")):
        message_id = await unconfirmed_message(pipeline, policy=RESEND)
        await pipeline.tamper("UPDATE messages SET expires_at = now() WHERE id = :id", id=message_id)
        # Nothing more is sent for it, despite its route.
        await make_settler(pipeline, FakeLookup()).settle_due()
        await pipeline.sweep()
        await pipeline.delivery.drain()
        assert (await pipeline.status(message_id), len(await pipeline.attempts(message_id))) == ("UNCONFIRMED", 1)
        if answer is not None:
            await apply_report(pipeline, message_id, answer)
        await pipeline.sweep()
        assert await pipeline.status(message_id) == then


async def test_a_message_that_expires_before_the_next_channel_keeps_the_status_of_the_first(
    pipeline: MessagePipeline,
) -> None:
    message_id = await accepted_message(pipeline, SMS_THEN_WHATSAPP)
    await pipeline.delivery.drain()
    await pipeline.tamper("UPDATE messages SET step_until = now(), due_at = now()")
    await pipeline.sweep()
    assert await pipeline.status(message_id) == "QUEUED"
    await pipeline.tamper("UPDATE messages SET expires_at = now()")
    for _ in range(3):
        await pipeline.sweep()
        message = await pipeline.message(message_id)
        assert (message.status, message.channel, message.next_attempt_at) == ("SENT", "SMS", None)
    await apply_report(pipeline, message_id, ReportedStatus.FAILED)
    await pipeline.sweep()
    assert (await pipeline.message(message_id)).failure is not None
    assert await pipeline.status(message_id) == "FAILED"


async def test_a_refusal_of_the_last_channel_is_no_failure_while_the_first_one_may_have_it(
    pipeline: MessagePipeline,
) -> None:
    """The message shows what reached the person, in any order of reports."""
    route = [make_step(Channel.SMS, on_unconfirmed=UnconfirmedPolicy.NEXT_CHANNEL), make_step(Channel.WHATSAPP)]
    pipeline.serve(Channel.WHATSAPP, "whatsapp")
    refused = raising(
        ProviderRejected("no", provider="whatsapp", reason=FailureReason.OTHER, party=FailureParty.CALLER)
    )
    whatsapp = replace(pipeline.delivery, channel=Channel.WHATSAPP, integration="whatsapp")
    ends = {"SENT": "SENT", "DELIVERED": "DELIVERED", "READ": "READ", "FAILED": "FAILED"}
    for status, then in ends.items():
        message_id = await unconfirmed_message(pipeline, *route)
        await make_settler(pipeline, FakeLookup()).settle_due()
        pipeline.sender.answer = refused  # type: ignore[assignment]
        await whatsapp.drain()
        message = await pipeline.message(message_id)
        assert (message.status, message.channel) == ("UNCONFIRMED", "SMS")
        # It is not sent on, and not sent again: the route is at its end.
        await pipeline.tamper("UPDATE messages SET due_at = now() WHERE status = 'UNCONFIRMED'")
        await make_settler(pipeline, FakeLookup()).settle_due()
        assert await pipeline.status(message_id) == "UNCONFIRMED"
        await apply_report(pipeline, message_id, ReportedStatus(status))
        message = await pipeline.message(message_id)
        assert (message.status, message.channel, len(await pipeline.attempts(message_id))) == (then, "SMS", 2)


async def test_a_message_with_an_unread_report_does_not_expire(pipeline: MessagePipeline) -> None:
    pipeline.sender.answer = AWAY  # type: ignore[assignment]
    message_id = await pipeline.accept()
    await pipeline.delivery.drain()
    await pipeline.tamper("UPDATE messages SET expires_at = now()")
    await pipeline.keep(status_report(message_id, ReportedStatus.DELIVERED))
    await pipeline.sweep()
    assert await pipeline.status(message_id) == "QUEUED"
    await pipeline.apply()
    assert "FAILED" not in await pipeline.statuses(message_id)


async def test_no_other_channel_is_used_while_a_report_about_the_first_is_unread(pipeline: MessagePipeline) -> None:
    message_id = await accepted_message(pipeline, SMS_THEN_WHATSAPP)
    await pipeline.delivery.drain()
    await pipeline.tamper("UPDATE messages SET step_until = now(), due_at = now()")
    await pipeline.sweep()
    assert (await pipeline.message(message_id)).channel == "WHATSAPP"
    await pipeline.keep(status_report(message_id, ReportedStatus.DELIVERED))
    async with pipeline.worker.transaction() as connection:
        assert await claim(connection, Channel.WHATSAPP, "whatsapp", worker="w", limit=10, timing=TIMING) == []
    await pipeline.apply()
    assert await pipeline.status(message_id) == "DELIVERED"


async def test_a_worker_paused_after_it_began_makes_no_call(
    pipeline: MessagePipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    message_id = await pipeline.accept()

    async def sleep(
        connection: AsyncConnection, sealer: Sealer, integration: str, begun: Sequence[Claimed]
    ) -> list[Claimed]:
        slept = (TIMING.lease - TIMING.send_deadline).total_seconds()
        monkeypatch.setattr(sending, "time", SimpleNamespace(monotonic=lambda: time.monotonic() + slept))
        return await with_quoted_ids(connection, sealer, integration, begun)

    monkeypatch.setattr(delivery, "with_quoted_ids", sleep)
    await pipeline.delivery.drain()
    assert pipeline.sender.sent == []
    [attempt] = await pipeline.attempts(message_id)
    assert (attempt.outcome, attempt.duration_ms) == ("UNAVAILABLE", 0)
    assert await pipeline.status(message_id) == "QUEUED"


async def test_two_ends_of_one_message_that_are_written_down_together_know_of_each_other(
    pipeline: MessagePipeline,
) -> None:
    message_id = await unconfirmed_message(pipeline, policy=RESEND)
    await make_settler(pipeline, FakeLookup()).settle_due()
    async with pipeline.worker.transaction() as connection:
        [second] = await claim(connection, Channel.SMS, "twilio", worker="w", limit=10, timing=TIMING)
        await begin(connection, [second], TIMING)
    # A worker that slept for long has both in its hands when it wakes.
    ends = [
        CallResult(replace(second, attempt=1), Receipt("SM1")),
        CallResult(second, ProviderRejected("no", provider="twilio")),
    ]
    await pipeline.delivery._record(ends)
    assert await pipeline.status(message_id) == "SENT"


async def test_an_unconfirmed_message_released_from_a_claim_is_looked_up_by_its_first_attempt(
    pipeline: MessagePipeline,
) -> None:
    message_id = await unconfirmed_message(pipeline, policy=RESEND)
    await make_settler(pipeline, FakeLookup()).settle_due()
    async with pipeline.worker.transaction() as connection:
        [second] = await claim(connection, Channel.SMS, "twilio", worker="w", limit=10, timing=TIMING)
    # A slow worker's late word on the first send, before the second one has begun.
    await pipeline.delivery._record([CallResult(replace(second, attempt=1), OutcomeUnknown("lost", provider="twilio"))])
    assert await pipeline.status(message_id) == "UNCONFIRMED"
    await pipeline.tamper("UPDATE messages SET due_at = now()")
    lookup = FakeLookup([ProviderRecord("SM1", ReportedStatus.SENT)])
    await make_settler(pipeline, lookup).settle_due()
    assert [sought.reference.attempt for sought in lookup.sought] == [1]
    assert await pipeline.status(message_id) == "SENT"
