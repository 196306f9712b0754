"""The allow list of a key limits its recipients, and messages of a test key never reach a live provider."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from core.dead_letters import store
from core.errors import (
    IdempotencyConflict,
    InputRule,
    InvalidInput,
    InvalidState,
    NotSimulated,
    ProviderRejected,
    Refused,
)
from core.messages.batch import BatchDraft, accept_batch
from core.messages.delivery import ChannelDelivery
from core.messages.retry import retry, retry_message
from core.messages.status import EventSource, make_step
from core.messages.validation import ChannelService, Draft
from core.nouns import SubjectKey
from core.operations.requeue import requeue_dead_letters
from core.pagination import PageRequest
from core.ports import Channel, OutboundMessage, Receipt, TextContent
from core.ports.identity import DEFAULT_TENANT, UNRESTRICTED, Reach
from core.ports.sending import MESSAGE
from tests.contributed import SUBJECTS
from tests.delivery.factories import FakeLookup, lose_answer, make_settler, record_an_hour_of_uptime
from tests.delivery.pipeline import FakeSender, MessagePipeline

ANA, BIA = "+5511987654321", "+5521987654321"
TEST, ANAS = Reach(simulated_only=True), Reach(recipients=frozenset({ANA}))


def refuse(_: OutboundMessage) -> Receipt:
    raise ProviderRejected("No telephone has this number.", provider="twilio")


def simulate(pipeline: MessagePipeline, *channels: Channel) -> None:
    """Let providers be simulated, as far as accepting knows."""
    for channel in channels:
        name = {Channel.SMS: "twilio", Channel.WHATSAPP: "whatsapp"}[channel]
        pipeline.outbox.channels[channel] = ChannelService(name, True, is_simulated=True)  # type: ignore[index]


def draft(reach: Reach, phone: str = ANA, *channels: Channel, **more: Any) -> Draft:
    route = [make_step(one) for one in channels or (Channel.SMS,)]
    return Draft(TextContent("Olá"), route, phone=phone, reach=reach, **more)


async def accept(pipeline: MessagePipeline, reach: Reach, phone: str = ANA, *channels: Channel, **more: Any) -> UUID:
    return (await pipeline.outbox.accept(DEFAULT_TENANT, draft(reach, phone, *channels, **more))).message_id


async def refusal(pipeline: MessagePipeline, one: Draft) -> Any:
    with pytest.raises(Refused) as caught:
        await pipeline.outbox.accept(DEFAULT_TENANT, one)
    [error] = caught.value.errors
    return error


# ─── Test keys ──────────────────────────────────────────────────────────────


async def test_a_test_key_message_is_refused_for_a_live_provider(pipeline: MessagePipeline) -> None:
    error = await refusal(pipeline, draft(TEST))
    assert isinstance(error, NotSimulated)
    assert (error.integration, error.path) == ("twilio", ("input", "route", "0", "channel"))
    assert "not simulated on this server" in error.message
    assert await pipeline.count("messages") == 0


async def test_every_step_of_its_route_must_be_simulated(pipeline: MessagePipeline) -> None:
    simulate(pipeline, Channel.SMS)
    pipeline.serve(Channel.WHATSAPP, "whatsapp")
    error = await refusal(pipeline, draft(TEST, ANA, Channel.SMS, Channel.WHATSAPP))
    assert (error.integration, error.path[2]) == ("whatsapp", "1")
    with pytest.raises(Refused):
        await pipeline.outbox.hand_in(DEFAULT_TENANT, draft(TEST, ANA, Channel.WHATSAPP, is_rehearsal=True))


async def test_where_it_is_simulated_it_is_sent_like_any_other(pipeline: MessagePipeline) -> None:
    simulate(pipeline, Channel.SMS)
    pipeline.delivery.is_simulated = True
    message_id = await accept(pipeline, TEST)
    await pipeline.delivery.drain()
    assert (await pipeline.status(message_id), len(pipeline.sender.sent)) == ("SENT", 1)


async def test_a_test_key_message_is_rejected_before_a_live_provider_is_called(pipeline: MessagePipeline) -> None:
    """It was simulated when the message was taken in, and is not any more when its turn comes."""
    simulate(pipeline, Channel.SMS)
    theirs, ours = await accept(pipeline, TEST), await accept(pipeline, UNRESTRICTED)
    await pipeline.delivery.drain()
    assert [one.reference.message_id for one in pipeline.sender.sent] == [ours]
    assert (await pipeline.status(theirs), await pipeline.status(ours)) == ("FAILED", "SENT")
    failure = (await pipeline.message(theirs)).failure
    assert failure is not None
    assert (failure.party.value, "test key" in failure.message) == ("CALLER", True)
    # An operator cannot fix that: it is no dead letter.
    assert await pipeline.count("dead_letters") == 0


async def test_by_a_fallback_it_comes_no_further(pipeline: MessagePipeline) -> None:
    simulate(pipeline, Channel.SMS, Channel.WHATSAPP)
    real = FakeSender()
    real.gate.set()
    whatsapp = ChannelDelivery(
        Channel.WHATSAPP, "whatsapp", real, pipeline.worker, pipeline.sealer, pipeline.hub, "test-worker"
    )
    pipeline.delivery.is_simulated, pipeline.sender.answer = True, refuse
    message_id = await accept(pipeline, TEST, ANA, Channel.SMS, Channel.WHATSAPP)
    await pipeline.delivery.drain()
    assert await pipeline.status(message_id) == "QUEUED"
    await whatsapp.drain()
    assert (await pipeline.status(message_id), real.sent) == ("FAILED", [])
    assert len(pipeline.sender.sent) == 1


async def test_at_its_hour_and_after_its_worker_died_it_comes_no_further(pipeline: MessagePipeline) -> None:
    simulate(pipeline, Channel.SMS)
    message_id = await accept(pipeline, TEST, send_after=timedelta(hours=1))
    await pipeline.tamper("UPDATE messages SET due_at = now()")
    await pipeline.sweep()
    await pipeline.tamper("UPDATE messages SET lease_until = now() - interval '1 hour', lease_token = 9")
    await pipeline.sweep()
    await pipeline.delivery.drain()
    assert (await pipeline.status(message_id), pipeline.sender.sent) == ("FAILED", [])


@pytest.mark.parametrize("is_simulated", [True, False])
async def test_a_live_provider_is_not_asked_about_a_test_key_message(
    pipeline: MessagePipeline, is_simulated: bool
) -> None:
    simulate(pipeline, Channel.SMS)
    pipeline.delivery.is_simulated, pipeline.sender.answer = True, lose_answer
    await accept(pipeline, TEST)
    await pipeline.delivery.drain()
    await pipeline.tamper("UPDATE messages SET due_at = now()")
    await record_an_hour_of_uptime(pipeline)
    lookup = FakeLookup()
    asking = make_settler(pipeline, lookup)
    if is_simulated:
        object.__setattr__(asking, "simulated", frozenset({"twilio"}))
    assert await asking.settle_due() == 1
    assert len(lookup.sought) == is_simulated


async def test_the_same_request_of_a_test_key_and_of_another_is_not_the_same(pipeline: MessagePipeline) -> None:
    simulate(pipeline, Channel.SMS)
    first = await accept(pipeline, TEST, idempotency_key="order-1042")
    with pytest.raises(IdempotencyConflict):
        await accept(pipeline, UNRESTRICTED, idempotency_key="order-1042")
    # It is recognised again although its provider has become live meanwhile.
    pipeline.serve(Channel.SMS, "twilio")
    assert await accept(pipeline, TEST, idempotency_key="order-1042") == first


# ─── Allow lists ────────────────────────────────────────────────────────────


async def test_a_recipient_outside_the_allow_list_is_not_written_to(pipeline: MessagePipeline) -> None:
    error = await refusal(pipeline, draft(ANAS, BIA))
    assert isinstance(error, InvalidInput)
    assert (error.path, error.rule) == (("input", "to", "phone"), InputRule.NOT_ALLOWED)
    assert BIA not in error.message
    assert await pipeline.count("messages") == 0
    await accept(pipeline, ANAS, "+55 11 98765-4321")


async def test_in_a_batch_each_is_judged_by_itself(pipeline: MessagePipeline) -> None:
    batch = BatchDraft([draft(ANAS, BIA), draft(ANAS)], "batch")
    found = await accept_batch(pipeline.outbox, DEFAULT_TENANT, batch)
    assert [isinstance(one, Refused) for one in found.results] == [True, False]
    assert await pipeline.count("messages") == 1


# ─── Another try ────────────────────────────────────────────────────────────


async def failed(pipeline: MessagePipeline, reach: Reach, phone: str = ANA) -> UUID:
    """A message that failed for a reason that an operator can fix."""
    message_id = await accept(pipeline, reach, phone)
    await pipeline.tamper("UPDATE messages SET status = 'FAILED', due_at = NULL")
    return message_id


async def by_hand(pipeline: MessagePipeline, message_id: UUID, reach: Reach) -> None:
    await retry_message(pipeline.outbox, DEFAULT_TENANT, message_id, None, reach=reach)


async def by_hand_over_a_route(pipeline: MessagePipeline, message_id: UUID, reach: Reach) -> None:
    await retry_message(pipeline.outbox, DEFAULT_TENANT, message_id, [make_step(Channel.SMS)], reach=reach)


async def as_dead_letter(pipeline: MessagePipeline, message_id: UUID, reach: Reach) -> None:
    await pipeline.tamper(
        "INSERT INTO dead_letters (tenant_id, id, kind, error, attempts, message_id)"
        " VALUES (:tenant, gen_random_uuid(), 'message.send', 'closed', 1, :message)",
        tenant=DEFAULT_TENANT,
        message=message_id,
    )
    async with pipeline.app.transaction(DEFAULT_TENANT) as connection:
        about = store.DeadLetterFilter(subject=SubjectKey(MESSAGE, message_id))
        [letter], _ = await store.dead_letters_page(connection, DEFAULT_TENANT, PageRequest(1), about)
        done = await requeue_dead_letters(
            pipeline.installation, SUBJECTS, connection, DEFAULT_TENANT, [letter.id], reach
        )
    if error := done.refusals[letter.id]:
        raise error


WAYS = pytest.mark.parametrize("again", [by_hand, by_hand_over_a_route, as_dead_letter])
Again = Callable[[MessagePipeline, UUID, Reach], Any]


@WAYS
async def test_a_test_key_has_nothing_tried_again_that_another_sent(pipeline: MessagePipeline, again: Again) -> None:
    simulate(pipeline, Channel.SMS)
    message_id = await failed(pipeline, UNRESTRICTED)
    with pytest.raises(InvalidState, match="A test key retries only what test keys sent"):
        await again(pipeline, message_id, TEST)
    assert await pipeline.status(message_id) == "FAILED"
    theirs = await failed(pipeline, TEST)
    await again(pipeline, theirs, TEST)
    assert await pipeline.status(theirs) == "QUEUED"


@WAYS
async def test_a_key_with_an_allow_list_may_retry_messages_to_recipients_on_it(
    pipeline: MessagePipeline, again: Again
) -> None:
    message_id = await failed(pipeline, UNRESTRICTED, BIA)
    with pytest.raises(InvalidState, match="recipients on its list"):
        await again(pipeline, message_id, ANAS)
    allowed = await failed(pipeline, UNRESTRICTED)
    await again(pipeline, allowed, ANAS)
    assert (await pipeline.status(message_id), await pipeline.status(allowed)) == ("FAILED", "QUEUED")


@pytest.mark.parametrize("again", [by_hand, as_dead_letter])
async def test_a_key_with_an_allow_list_gets_the_common_answer_for_an_erased_message(
    pipeline: MessagePipeline, again: Again
) -> None:
    message_id = await failed(pipeline, UNRESTRICTED)
    await pipeline.tamper("UPDATE messages SET to_sealed = NULL, to_hash = NULL, erased_at = now()")
    with pytest.raises(InvalidState, match="no longer stored"):
        await again(pipeline, message_id, ANAS)


async def test_an_unreadable_message_is_outside_every_allow_list(pipeline: MessagePipeline) -> None:
    message_id = await failed(pipeline, UNRESTRICTED)
    await pipeline.tamper("UPDATE messages SET to_sealed = 'x'")
    with pytest.raises(InvalidState, match="recipients on its list"):
        await by_hand(pipeline, message_id, ANAS)


@WAYS
@pytest.mark.parametrize("reach", [UNRESTRICTED, TEST])
async def test_no_key_may_retry_a_test_key_message_at_a_live_provider(
    pipeline: MessagePipeline, again: Again, reach: Reach
) -> None:
    simulate(pipeline, Channel.SMS)
    message_id = await failed(pipeline, TEST)
    pipeline.serve(Channel.SMS, "twilio")
    with pytest.raises((NotSimulated, Refused)) as caught:
        await again(pipeline, message_id, reach)
    error = caught.value.errors[0] if isinstance(caught.value, Refused) else caught.value
    assert isinstance(error, NotSimulated)
    assert await pipeline.status(message_id) == "FAILED"


async def test_a_test_key_message_stays_one_after_a_retry_by_any_key(pipeline: MessagePipeline) -> None:
    simulate(pipeline, Channel.SMS)
    message_id = await failed(pipeline, TEST)
    async with pipeline.app.transaction(DEFAULT_TENANT) as connection:
        channels = pipeline.outbox.channels
        await retry(connection, DEFAULT_TENANT, message_id, None, EventSource.API, channels=channels)
    await pipeline.delivery.drain()
    assert (await pipeline.status(message_id), pipeline.sender.sent) == ("FAILED", [])
