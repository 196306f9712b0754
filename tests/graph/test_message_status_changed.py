"""messageStatusChanged: the present state first, then every change in order, exactly once."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from api.bootstrap import App
from core.database import Database
from core.errors import Overloaded
from core.ports.identity import Scope
from core.pubsub import Change
from resolvers.global_ids import to_global_id
from tests.apps import build_application
from tests.databases import Urls
from tests.graph.callers import Caller, Following, NewCaller, statements
from tests.graph.factories import RecordFactory, event, global_id

FOLLOW = """
subscription ($filter: MessageStatusFilter) {
  messageStatusChanged(filter: $filter) {
    previousStatus
    event { id status source }
    message { id status }
  }
}
"""
Told = tuple[str, str | None, str]


@asynccontextmanager
async def following(caller: Caller, ids: list[str] | None = None) -> AsyncIterator[Following]:
    """Follow these messages, or all of them."""
    stream = caller.follow(FOLLOW, filter=None if ids is None else {"ids": ids})
    try:
        yield stream
    finally:
        await stream.close()


async def told(stream: Following) -> Told:
    """The next change: whose, from which status, to which."""
    change: dict[str, Any] = (await stream.next())["messageStatusChanged"]
    return change["message"]["id"], change["previousStatus"], change["event"]["status"]


async def change(caller: Caller, factory: RecordFactory, message: UUID, *statuses: str) -> None:
    """Let a message take each status after the first, and notify the subscribers."""
    for previous, status in pairwise(statuses):
        await factory.status_change(caller, message, status, previous)
        await hint(caller, message)


async def hint(caller: Caller, message: UUID) -> None:
    await caller.application.hub.publish([Change(caller.tenant, message)])


async def listening(application: App, stream: Following) -> "asyncio.Task[Told]":
    """Wait for the first change in the background, from a moment that has come when this returns."""
    with statements(application) as seen:
        first = asyncio.create_task(told(stream))
        async with asyncio.timeout(5):
            while not any("pg_current_snapshot" in statement for statement in seen):
                await asyncio.sleep(0.005)
    return first


async def test_the_present_state_comes_first(caller: Caller, factory: RecordFactory) -> None:
    message = await factory.message(caller, status="SENDING", attempts=1)
    async with following(caller, [global_id(message)]) as stream:
        found = (await stream.next())["messageStatusChanged"]
    assert found["previousStatus"] is None
    assert found["message"] == {"id": global_id(message), "status": "SENDING"}
    assert found["event"]["status"] == "SENDING"


async def test_then_comes_every_change_in_its_order_and_none_twice(caller: Caller, factory: RecordFactory) -> None:
    message = await factory.message(caller)
    id = global_id(message)
    async with following(caller, [id]) as stream:
        assert await told(stream) == (id, None, "QUEUED")
        await change(caller, factory, message, "QUEUED", "SENDING", "SENT", "DELIVERED")
        # Hints without a change deliver nothing.
        for _ in range(3):
            await hint(caller, message)
        await change(caller, factory, message, "DELIVERED", "READ")
        heard = [await told(stream) for _ in range(4)]
    assert heard == [
        (id, "QUEUED", "SENDING"),
        (id, "SENDING", "SENT"),
        (id, "SENT", "DELIVERED"),
        (id, "DELIVERED", "READ"),
    ]


async def test_an_event_that_changed_nothing_is_not_delivered(caller: Caller, factory: RecordFactory) -> None:
    message = await factory.message(caller)
    id = global_id(message)
    async with following(caller, [id]) as stream:
        await told(stream)
        await change(caller, factory, message, "QUEUED", "SENT", "SENT", "DELIVERED")
        assert [await told(stream) for _ in range(2)] == [(id, "QUEUED", "SENT"), (id, "SENT", "DELIVERED")]


async def test_a_message_made_later_is_followed_from_its_beginning(
    caller: Caller, factory: RecordFactory, application: App
) -> None:
    async with following(caller) as stream:
        first = await listening(application, stream)
        message = await factory.message(caller)
        await change(caller, factory, message, "QUEUED", "SENDING")
        assert await first == (global_id(message), None, "QUEUED")
        assert await told(stream) == (global_id(message), "QUEUED", "SENDING")


async def test_without_a_filter_every_message_is_followed_from_now_on(
    caller: Caller, factory: RecordFactory, application: App
) -> None:
    one, other = await factory.message(caller), await factory.message(caller)
    async with following(caller) as stream:
        first = await listening(application, stream)
        await change(caller, factory, other, "QUEUED", "FAILED")
        await change(caller, factory, one, "QUEUED", "SENT")
        assert await first == (global_id(other), "QUEUED", "FAILED")
        assert await told(stream) == (global_id(one), "QUEUED", "SENT")


async def test_what_can_only_be_followed_in_vain_is_refused(
    caller: Caller, stranger: Caller, factory: RecordFactory
) -> None:
    ours, theirs = global_id(await factory.message(caller)), global_id(await factory.message(stranger))
    foreign_batch = to_global_id("MessageBatch", await batch_of(factory, stranger))
    for id in (theirs, "x", "", to_global_id("Message", b"\x00" * 16), foreign_batch):
        refused = [
            ({"ids": [ours, id]}, "filter.ids.1", "MESSAGE_NOT_FOUND"),
            ({"ids": [id], "statuses": ["SENT"]}, "filter.ids.0", "MESSAGE_NOT_FOUND"),
            ({"batchId": id}, "filter.batchId", "BATCH_NOT_FOUND"),
            ({"batchId": id, "ids": [ours]}, "filter.batchId", "BATCH_NOT_FOUND"),
        ]
        for given, argument, reason in refused:
            [error] = (await caller.follow(FOLLOW, filter=given).answer()).errors
            found = error["extensions"]
            assert (found["code"], found["argument"], found["reason"]) == ("NOT_FOUND", argument, reason), given


async def test_a_message_named_twice_is_delivered_once(caller: Caller, factory: RecordFactory) -> None:
    message = await factory.message(caller)
    async with following(caller, [global_id(message)] * 2) as stream:
        assert await told(stream) == (global_id(message), None, "QUEUED")
        await change(caller, factory, message, "QUEUED", "SENDING")
        assert await told(stream) == (global_id(message), "QUEUED", "SENDING")


async def test_only_those_of_one_direction_are_followed(
    caller: Caller, factory: RecordFactory, application: App
) -> None:
    sent, written = await factory.message(caller), await factory.message(caller, sender="+5521999998888")
    for direction, wanted, other in (("INBOUND", written, sent), ("OUTBOUND", sent, written)):
        stream = caller.follow(FOLLOW, filter={"direction": direction})
        first = await listening(application, stream)
        await change(caller, factory, other, "QUEUED", "SENT")
        await change(caller, factory, wanted, "QUEUED", "DELIVERED")
        assert await first == (global_id(wanted), "QUEUED", "DELIVERED")
        await stream.close()


async def batch_of(factory: RecordFactory, caller: Caller) -> bytes:
    """A batch of the caller's; gives its key."""
    batch = uuid4()
    await factory.owner.execute("INSERT INTO message_batches (tenant_id, id) VALUES ($1, $2)", caller.tenant, batch)
    return batch.bytes


async def test_an_unfiltered_stream_is_of_ones_own_messages(
    caller: Caller, stranger: Caller, factory: RecordFactory, application: App
) -> None:
    ours, theirs = await factory.message(caller), await factory.message(stranger)
    async with following(caller) as stream:
        first = await listening(application, stream)
        await change(stranger, factory, theirs, "QUEUED", "SENT")
        await change(caller, factory, ours, "QUEUED", "SENDING")
        assert await first == (global_id(ours), "QUEUED", "SENDING")


async def test_to_follow_none_ends_at_once(caller: Caller) -> None:
    for given in ({"ids": []}, {"channels": []}, {"statuses": []}):
        with pytest.raises(StopAsyncIteration):
            await caller.follow(FOLLOW, filter=given).answer()
    health = "subscription { integrationHealthChanged(kinds: []) { at } }"
    with pytest.raises(StopAsyncIteration):
        await caller.follow(health).answer()


async def test_a_hundred_can_be_followed_by_id_and_no_more(caller: Caller, factory: RecordFactory) -> None:
    id = global_id(await factory.message(caller))
    async with following(caller, [id] * 100) as stream:
        assert await told(stream) == (id, None, "QUEUED")
    async with following(caller, [id] * 101) as stream:
        [error] = (await stream.answer()).errors
    assert (error["extensions"]["code"], error["extensions"]["argument"]) == ("INVALID_INPUT", "filter.ids")


async def test_transactions_that_end_in_the_other_order_lose_nothing(
    caller: Caller, factory: RecordFactory, owner: asyncpg.Pool
) -> None:
    slow, quick = await factory.message(caller), await factory.message(caller)
    async with following(caller, [global_id(slow), global_id(quick)]) as stream:
        assert {await told(stream), await told(stream)} == {
            (global_id(slow), None, "QUEUED"),
            (global_id(quick), None, "QUEUED"),
        }
        async with owner.acquire() as connection:
            transaction = connection.transaction()
            await transaction.start()
            early = await event(connection, caller, slow, "SENDING", "QUEUED")
            async with owner.acquire() as other:
                late = await event(other, caller, quick, "SENDING", "QUEUED")
            assert early < late
            await hint(caller, quick)
            assert await told(stream) == (global_id(quick), "QUEUED", "SENDING")
            await change(caller, factory, quick, "SENDING", "SENT")
            assert await told(stream) == (global_id(quick), "SENDING", "SENT")
            await transaction.commit()
        await hint(caller, slow)
        assert await told(stream) == (global_id(slow), "QUEUED", "SENDING")
        await change(caller, factory, quick, "SENT", "DELIVERED")
        assert await told(stream) == (global_id(quick), "SENT", "DELIVERED")


async def test_it_goes_on_without_redis(graph_urls: Urls, caller: Caller, factory: RecordFactory) -> None:
    message = await factory.message(caller)
    application = build_application(graph_urls, REDIS_URL="redis://127.0.0.1:9/0")
    alone = Caller(application, caller.engine, caller.principal)
    try:
        async with following(alone, [global_id(message)]) as stream:
            assert await told(stream) == (global_id(message), None, "QUEUED")
            await factory.status_change(caller, message, "SENT", "QUEUED")
            assert await told(stream) == (global_id(message), "QUEUED", "SENT")
    finally:
        await application.close()


async def test_it_survives_a_short_database_outage(
    caller: Caller, factory: RecordFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    message = await factory.message(caller)
    async with following(caller, [global_id(message)]) as stream:
        assert await told(stream) == (global_id(message), None, "QUEUED")
        connect, refusals = Database._connect, iter(range(3))

        async def refuse_thrice(self: Database) -> object:
            if next(refusals, None) is not None:
                raise Overloaded("The database cannot be reached; nothing was stored.", retry_after=5)
            return await connect(self)

        await factory.status_change(caller, message, "SENT", "QUEUED")
        monkeypatch.setattr(Database, "_connect", refuse_thrice)
        await hint(caller, message)
        assert await told(stream) == (global_id(message), "QUEUED", "SENT")
        assert next(refusals, None) is None


async def test_following_needs_its_scope(new_caller: NewCaller, anonymous: Caller) -> None:
    sender = await new_caller(frozenset(Scope) - {Scope.MESSAGES_READ})
    for caller, code in ((sender, "FORBIDDEN"), (anonymous, "UNAUTHENTICATED")):
        async with following(caller) as stream:
            [error] = (await stream.answer()).errors
            assert error["extensions"]["code"] == code


async def test_a_stream_that_ends_leaves_no_listener(caller: Caller, factory: RecordFactory, application: App) -> None:
    id = global_id(await factory.message(caller))
    before = len(application.hub._listeners)
    async with following(caller, [id]) as stream:
        await told(stream)
        assert len(application.hub._listeners) == before + 1
    assert len(application.hub._listeners) == before
