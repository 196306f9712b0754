"""Settling by hand: a decision about an unconfirmed message, and everything that can race with it."""

import asyncio
from collections.abc import Sequence
from uuid import UUID

import pytest

from core.errors import InvalidState, NotConfigured, NotFound, OutcomeUnknown
from core.ids import uuid7
from core.messages.commands import Decision, SettleRequest, settle_by_hand
from core.messages.validation import ChannelService
from core.ports import Channel, LookupRequest, OutboundMessage, ProviderRecord, Receipt, ReportedStatus
from core.ports.identity import DEFAULT_TENANT, Reach
from tests.delivery.factories import FakeLookup, apply_report, make_settler, unconfirmed_message
from tests.delivery.pipeline import MessagePipeline


async def decide(
    pipeline: MessagePipeline, message_id: UUID, decision: Decision, *, tenant: UUID = DEFAULT_TENANT
) -> None:
    await settle_by_hand(pipeline.outbox, tenant, SettleRequest(message_id, decision))


AS = {Decision.SENT: "SENT", Decision.FAILED: "FAILED", Decision.RESEND: "QUEUED"}


@pytest.mark.parametrize("decision", Decision)
async def test_it_is_what_was_decided_and_the_same_once_more_changes_nothing(
    pipeline: MessagePipeline, decision: Decision
) -> None:
    message_id = await unconfirmed_message(pipeline)
    await decide(pipeline, message_id, decision)
    events = await pipeline.events(message_id)
    assert (await pipeline.status(message_id), events[-1].source) == (AS[decision], "OPERATOR")
    # Its answer was lost; what has happened since stays.
    await decide(pipeline, message_id, decision)
    assert len(await pipeline.events(message_id)) == len(events)
    for other in set(Decision) - {decision}:
        with pytest.raises(InvalidState):
            await decide(pipeline, message_id, other)
    assert await pipeline.status(message_id) == AS[decision]
    # No settler looks at it again, and no action is needed.
    await pipeline.tamper("UPDATE messages SET due_at = now() WHERE status = 'UNCONFIRMED'")
    assert await make_settler(pipeline, FakeLookup()).settle_due() == 0
    assert await pipeline.count("dead_letters") == 0


async def test_it_is_sent_once_more_over_the_same_channel(pipeline: MessagePipeline) -> None:
    message_id = await unconfirmed_message(pipeline)
    pipeline.sender.answer = lambda message: Receipt("SMagain")
    await decide(pipeline, message_id, Decision.RESEND)
    assert pipeline.woken[-1] == "SMS"
    await pipeline.delivery.drain()
    first, second = [one.reference for one in pipeline.sender.sent]
    # An e-mail's Message-ID is made of the message's id.
    assert (first.message_id, second.message_id, second.attempt) == (message_id, message_id, 2)
    assert await pipeline.status(message_id) == "SENT"


async def test_what_is_lost_again_can_be_decided_again(pipeline: MessagePipeline) -> None:
    message_id = await unconfirmed_message(pipeline)
    await decide(pipeline, message_id, Decision.RESEND)
    await pipeline.delivery.drain()
    assert await pipeline.status(message_id) == "UNCONFIRMED"
    await decide(pipeline, message_id, Decision.FAILED)
    assert await pipeline.status(message_id) == "FAILED"


@pytest.mark.parametrize("decision", [Decision.SENT, Decision.FAILED])
@pytest.mark.parametrize("status", ReportedStatus)
async def test_a_report_that_comes_later_says_more(
    pipeline: MessagePipeline, decision: Decision, status: ReportedStatus
) -> None:
    message_id = await unconfirmed_message(pipeline)
    await decide(pipeline, message_id, decision)
    await apply_report(pipeline, message_id, status)
    assert await pipeline.status(message_id) == status.value
    assert (await pipeline.attempts(message_id))[0].provider_message_id == f"SM{message_id.hex}"


async def test_a_settler_that_has_it_in_hand_decides_nothing_any_more(pipeline: MessagePipeline) -> None:
    message_id = await unconfirmed_message(pipeline)

    class Slow(FakeLookup):
        async def find(self, sought: LookupRequest) -> Sequence[ProviderRecord]:
            await decide(pipeline, message_id, Decision.FAILED)
            return [ProviderRecord("SMone", ReportedStatus.DELIVERED)]

    await make_settler(pipeline, Slow()).settle_due()
    assert await pipeline.status(message_id) == "FAILED"


@pytest.mark.parametrize("decision", Decision)
async def test_with_a_report_at_the_same_moment_the_report_wins(pipeline: MessagePipeline, decision: Decision) -> None:
    message_id = await unconfirmed_message(pipeline)

    async def by_hand() -> None:
        try:
            await decide(pipeline, message_id, decision)
        except InvalidState:
            assert await pipeline.status(message_id) == "DELIVERED"

    await asyncio.gather(by_hand(), apply_report(pipeline, message_id, ReportedStatus.DELIVERED))
    await pipeline.delivery.drain()
    assert (await pipeline.status(message_id), len(pipeline.sender.sent)) == ("DELIVERED", 1)


async def test_two_decisions_at_once_are_one(pipeline: MessagePipeline) -> None:
    message_id = await unconfirmed_message(pipeline)
    answers = await asyncio.gather(
        *(
            decide(pipeline, message_id, one)
            for one in (Decision.SENT, Decision.FAILED, Decision.SENT, Decision.FAILED)
        ),
        return_exceptions=True,
    )
    assert sorted(type(one).__name__ for one in answers) == ["InvalidState", "InvalidState", "NoneType", "NoneType"]


async def test_sending_again_follows_the_rules_of_sending(pipeline: MessagePipeline) -> None:
    message_id = await unconfirmed_message(pipeline)
    served = pipeline.outbox.channels[Channel.SMS]
    pipeline.outbox.channels[Channel.SMS] = ChannelService("twilio", False, "Set it up.")  # type: ignore[index]
    with pytest.raises(NotConfigured):
        await decide(pipeline, message_id, Decision.RESEND)
    pipeline.outbox.channels[Channel.SMS] = served  # type: ignore[index]
    await pipeline.tamper("UPDATE messages SET expires_at = now()")
    with pytest.raises(InvalidState, match="expiresIn"):
        await decide(pipeline, message_id, Decision.RESEND)
    assert await pipeline.status(message_id) == "UNCONFIRMED"
    await decide(pipeline, message_id, Decision.SENT)
    assert await pipeline.status(message_id) == "SENT"


async def test_whose_it_is_not_decides_nothing(pipeline: MessagePipeline) -> None:
    message_id = await unconfirmed_message(pipeline)
    with pytest.raises(NotFound):
        await decide(pipeline, message_id, Decision.SENT, tenant=uuid7())
    for reach in (Reach(simulated_only=True), Reach(recipients=frozenset({"+5511900000000"}))):
        with pytest.raises(InvalidState):
            await settle_by_hand(pipeline.outbox, DEFAULT_TENANT, SettleRequest(message_id, Decision.RESEND, reach))
    assert await pipeline.status(message_id) == "UNCONFIRMED"


async def test_what_is_not_unconfirmed_is_not_settled(pipeline: MessagePipeline) -> None:
    message_id = await pipeline.accept()
    for decision in Decision:
        with pytest.raises(InvalidState):
            await decide(pipeline, message_id, decision)
    assert await pipeline.status(message_id) == "QUEUED"


async def test_a_provider_that_is_lost_for_good_is_not_asked_by_a_route_again(pipeline: MessagePipeline) -> None:
    """A worker that was taken for dead and wakes after the decision does not put the message back in its queue."""
    message_id = await unconfirmed_message(pipeline)
    await decide(pipeline, message_id, Decision.FAILED)

    def lost(_: OutboundMessage) -> Receipt:
        raise OutcomeUnknown("lost", provider="twilio")

    pipeline.sender.answer = lost
    await pipeline.delivery.drain()
    assert (await pipeline.status(message_id), len(pipeline.sender.sent)) == ("FAILED", 1)
