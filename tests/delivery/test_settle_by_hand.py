"""Settling by hand: a decision about an unconfirmed message, and everything that can race with it."""

import asyncio
from collections.abc import Sequence
from uuid import UUID

import pytest

from core.errors import InvalidState, NotConfigured, NotFound, OutcomeUnknown
from core.ids import uuid7
from core.messages.commands import Decision, SettleRequest, settle_by_hand
from core.messages.validation import ChannelService
from core.ports import Channel, OutboundMessage, Receipt, ReportedStatus, Sighting, Sought
from core.ports.principal import DEFAULT_TENANT, Reach
from tests.delivery.factories import FakeLookup, apply_report, make_settler, unconfirmed_message
from tests.delivery.pipeline import MessagePipeline


async def decide(shop: MessagePipeline, message_id: UUID, decision: Decision, *, tenant: UUID = DEFAULT_TENANT) -> None:
    await settle_by_hand(shop.outbox, tenant, SettleRequest(message_id, decision))


AS = {Decision.SENT: "SENT", Decision.FAILED: "FAILED", Decision.RESEND: "QUEUED"}


@pytest.mark.parametrize("decision", Decision)
async def test_it_is_what_was_decided_and_the_same_once_more_changes_nothing(
    shop: MessagePipeline, decision: Decision
) -> None:
    message_id = await unconfirmed_message(shop)
    await decide(shop, message_id, decision)
    events = await shop.events(message_id)
    assert (await shop.status(message_id), events[-1].source) == (AS[decision], "OPERATOR")
    # Its answer was lost; what has happened since stays.
    await decide(shop, message_id, decision)
    assert len(await shop.events(message_id)) == len(events)
    for other in set(Decision) - {decision}:
        with pytest.raises(InvalidState):
            await decide(shop, message_id, other)
    assert await shop.status(message_id) == AS[decision]
    # No settler looks at it again, and nobody has to do anything about it.
    await shop.tamper("UPDATE messages SET due_at = now() WHERE status = 'UNCONFIRMED'")
    assert await make_settler(shop, FakeLookup()).settle_due() == 0
    assert await shop.count("dead_letters") == 0


async def test_it_is_sent_once_more_over_the_same_channel(shop: MessagePipeline) -> None:
    message_id = await unconfirmed_message(shop)
    shop.sender.answer = lambda message: Receipt("SMagain")
    await decide(shop, message_id, Decision.RESEND)
    assert shop.woken[-1] == "SMS"
    await shop.delivery.drain()
    first, second = [one.reference for one in shop.sender.sent]
    # An e-mail's Message-ID is made of the message's id.
    assert (first.message_id, second.message_id, second.attempt) == (message_id, message_id, 2)
    assert await shop.status(message_id) == "SENT"


async def test_what_is_lost_again_can_be_decided_again(shop: MessagePipeline) -> None:
    message_id = await unconfirmed_message(shop)
    await decide(shop, message_id, Decision.RESEND)
    await shop.delivery.drain()
    assert await shop.status(message_id) == "UNCONFIRMED"
    await decide(shop, message_id, Decision.FAILED)
    assert await shop.status(message_id) == "FAILED"


@pytest.mark.parametrize("decision", [Decision.SENT, Decision.FAILED])
@pytest.mark.parametrize("status", ReportedStatus)
async def test_a_report_that_comes_later_says_more(
    shop: MessagePipeline, decision: Decision, status: ReportedStatus
) -> None:
    message_id = await unconfirmed_message(shop)
    await decide(shop, message_id, decision)
    await apply_report(shop, message_id, status)
    assert await shop.status(message_id) == status.value
    assert (await shop.attempts(message_id))[0].provider_message_id == f"SM{message_id.hex}"


async def test_a_settler_that_has_it_in_hand_decides_nothing_any_more(shop: MessagePipeline) -> None:
    message_id = await unconfirmed_message(shop)

    class Slow(FakeLookup):
        async def find(self, sought: Sought) -> Sequence[Sighting]:
            await decide(shop, message_id, Decision.FAILED)
            return [Sighting("SMone", ReportedStatus.DELIVERED)]

    await make_settler(shop, Slow()).settle_due()
    assert await shop.status(message_id) == "FAILED"


@pytest.mark.parametrize("decision", Decision)
async def test_with_a_report_at_the_same_moment_the_report_wins(shop: MessagePipeline, decision: Decision) -> None:
    message_id = await unconfirmed_message(shop)

    async def by_hand() -> None:
        try:
            await decide(shop, message_id, decision)
        except InvalidState:
            assert await shop.status(message_id) == "DELIVERED"

    await asyncio.gather(by_hand(), apply_report(shop, message_id, ReportedStatus.DELIVERED))
    await shop.delivery.drain()
    assert (await shop.status(message_id), len(shop.sender.sent)) == ("DELIVERED", 1)


async def test_two_decisions_at_once_are_one(shop: MessagePipeline) -> None:
    message_id = await unconfirmed_message(shop)
    answers = await asyncio.gather(
        *(decide(shop, message_id, one) for one in (Decision.SENT, Decision.FAILED, Decision.SENT, Decision.FAILED)),
        return_exceptions=True,
    )
    assert sorted(type(one).__name__ for one in answers) == ["InvalidState", "InvalidState", "NoneType", "NoneType"]


async def test_sending_again_follows_the_rules_of_sending(shop: MessagePipeline) -> None:
    message_id = await unconfirmed_message(shop)
    served = shop.outbox.channels[Channel.SMS]
    shop.outbox.channels[Channel.SMS] = ChannelService("twilio", False, "Set it up.")  # type: ignore[index]
    with pytest.raises(NotConfigured):
        await decide(shop, message_id, Decision.RESEND)
    shop.outbox.channels[Channel.SMS] = served  # type: ignore[index]
    await shop.tamper("UPDATE messages SET expires_at = now()")
    with pytest.raises(InvalidState, match="expiresIn"):
        await decide(shop, message_id, Decision.RESEND)
    assert await shop.status(message_id) == "UNCONFIRMED"
    await decide(shop, message_id, Decision.SENT)
    assert await shop.status(message_id) == "SENT"


async def test_whose_it_is_not_decides_nothing(shop: MessagePipeline) -> None:
    message_id = await unconfirmed_message(shop)
    with pytest.raises(NotFound):
        await decide(shop, message_id, Decision.SENT, tenant=uuid7())
    for reach in (Reach(simulated_only=True), Reach(recipients=frozenset({"+5511900000000"}))):
        with pytest.raises(InvalidState):
            await settle_by_hand(shop.outbox, DEFAULT_TENANT, SettleRequest(message_id, Decision.RESEND, reach))
    assert await shop.status(message_id) == "UNCONFIRMED"


async def test_what_is_not_unconfirmed_is_not_settled(shop: MessagePipeline) -> None:
    message_id = await shop.accept()
    for decision in Decision:
        with pytest.raises(InvalidState):
            await decide(shop, message_id, decision)
    assert await shop.status(message_id) == "QUEUED"


async def test_a_provider_that_is_lost_for_good_is_not_asked_by_a_route_again(shop: MessagePipeline) -> None:
    """A worker that was taken for dead and wakes after the decision does not put the message back in its queue."""
    message_id = await unconfirmed_message(shop)
    await decide(shop, message_id, Decision.FAILED)

    def lost(_: OutboundMessage) -> Receipt:
        raise OutcomeUnknown("lost", provider="twilio")

    shop.sender.answer = lost
    await shop.delivery.drain()
    assert (await shop.status(message_id), len(shop.sender.sent)) == ("FAILED", 1)
