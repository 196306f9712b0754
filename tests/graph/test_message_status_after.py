"""messageStatusChanged(after:) and its filter: missed changes come first, and more messages cost no more statements."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from api.bootstrap import App
from core.live.cursors import decode_cursor, encode_cursor
from core.ports.identity import Scope
from core.pubsub import Change
from resolvers.global_ids import to_global_id
from tests.graph.callers import Caller, Following, NewCaller, statements
from tests.graph.factories import RecordFactory, global_id
from tests.helpers import until

FOLLOW = """
subscription ($filter: MessageStatusFilter, $after: String) {
  messageStatusChanged(filter: $filter, after: $after) {
    cursor hasGap previousStatus event { status } message { id status }
  }
}
"""


@asynccontextmanager
async def following(caller: Caller, document: str = FOLLOW, **variables: Any) -> AsyncIterator[Following]:
    stream = caller.follow(document, **variables)
    try:
        yield stream
    finally:
        await stream.close()


async def joined(application: App, stream: Following) -> "asyncio.Task[dict[str, Any]]":
    """Wait for the first change in the background, from a moment that has come when this returns."""

    async def followers() -> int:
        return sum(len(feed._subscribers) for feed, _ in application.services.feeds["Message"]._feeds.values())

    before = await followers()
    first = asyncio.create_task(stream.next())
    await until(followers, lambda count: count == before + 1)
    return first


async def move(caller: Caller, factory: RecordFactory, message: UUID, status: str, previous: str) -> None:
    await factory.status_change(caller, message, status, previous)
    await caller.application.hub.publish([Change(caller.tenant, message)])


async def test_what_was_missed_comes_first_and_then_it_goes_on(caller: Caller, factory: RecordFactory) -> None:
    message = await factory.message(caller)
    async with following(caller, filter={"ids": [global_id(message)]}) as stream:
        opening = (await stream.next())["messageStatusChanged"]
    await move(caller, factory, message, "SENDING", "QUEUED")
    await move(caller, factory, message, "SENT", "SENDING")
    async with following(caller, after=opening["cursor"]) as stream:
        missed = [(await stream.next())["messageStatusChanged"] for _ in range(2)]
        await move(caller, factory, message, "DELIVERED", "SENT")
        live = (await stream.next())["messageStatusChanged"]
    assert [(one["previousStatus"], one["event"]["status"]) for one in [*missed, live]] == [
        ("QUEUED", "SENDING"),
        ("SENDING", "SENT"),
        ("SENT", "DELIVERED"),
    ]
    # The message is shown as it is now, whatever the event is about.
    assert [one["message"]["status"] for one in missed] == ["SENT", "SENT"]
    assert not any(one["hasGap"] for one in [opening, *missed, live])


async def test_an_opening_that_was_cut_short_is_delivered_again(caller: Caller, factory: RecordFactory) -> None:
    ids = sorted([global_id(await factory.message(caller)) for _ in range(2)])
    async with following(caller, filter={"ids": ids}) as stream:
        first = (await stream.next())["messageStatusChanged"]
        second = (await stream.next())["messageStatusChanged"]
    async with following(caller, filter={"ids": ids}, after=first["cursor"]) as stream:
        again = [(await stream.next())["messageStatusChanged"]["message"]["id"] for _ in range(2)]
    assert sorted(again) == ids
    async with following(caller, filter={"ids": ids}, after=second["cursor"]) as stream:
        assert await stream.is_silent(0.3)


async def test_foreign_and_invalid_cursors_are_refused(
    caller: Caller, stranger: Caller, factory: RecordFactory
) -> None:
    async with following(stranger, filter={"ids": [global_id(await factory.message(stranger))]}) as stream:
        foreign = (await stream.next())["messageStatusChanged"]["cursor"]
    await factory.message(caller)
    messages = await caller.ask("{ messages { pageInfo { endCursor } } }")
    for cursor in (foreign, messages["messages"]["pageInfo"]["endCursor"], "", "nonsense", "é"):
        async with following(caller, after=cursor) as stream:
            [error] = (await stream.answer()).errors
            assert (error["extensions"]["code"], error["extensions"]["argument"]) == ("INVALID_INPUT", "after")


async def test_a_cursor_of_long_ago_has_expired(caller: Caller, factory: RecordFactory) -> None:
    async with following(caller, filter={"ids": [global_id(await factory.message(caller))]}) as stream:
        place = decode_cursor((await stream.next())["messageStatusChanged"]["cursor"], caller.tenant)
    assert place is not None
    old = encode_cursor(type(place)(place.at - 8 * 86_400, place.seen, place.ahead, place.sequence), caller.tenant)
    async with following(caller, after=old) as stream:
        [error] = (await stream.answer()).errors
    assert error["extensions"]["code"] == "CURSOR_EXPIRED"
    assert "Fetch your data again" in error["message"]


async def test_a_batch_can_be_followed(
    caller: Caller, factory: RecordFactory, application: App, owner: asyncpg.Pool
) -> None:
    inside, outside = await factory.message(caller), await factory.message(caller)
    batch = UUID(int=7)
    await owner.execute("INSERT INTO message_batches (tenant_id, id) VALUES ($1, $2)", caller.tenant, batch)
    await owner.execute("UPDATE messages SET batch_id = $2 WHERE id = $1", inside, batch)
    async with following(caller, filter={"batchId": to_global_id("MessageBatch", batch.bytes)}) as stream:
        first = await joined(application, stream)
        await move(caller, factory, outside, "SENT", "QUEUED")
        await move(caller, factory, inside, "SENT", "QUEUED")
        assert (await first)["messageStatusChanged"]["message"]["id"] == global_id(inside)


@pytest.mark.parametrize(
    ("filter", "heard"),
    [
        ({"statuses": ["DELIVERED", "FAILED"]}, ["DELIVERED"]),
        ({"channels": ["SMS"]}, ["SENDING", "DELIVERED", "READ"]),
        ({"channels": ["SMS"], "statuses": ["READ"]}, ["READ"]),
        ({"channels": ["WHATSAPP"]}, []),
    ],
)
async def test_channels_and_statuses_can_be_followed(
    caller: Caller, factory: RecordFactory, application: App, filter: dict[str, Any], heard: list[str]
) -> None:
    message, last = await factory.message(caller), await factory.message(caller)
    async with following(caller) as everything, following(caller, filter=filter) as stream:
        one, other = await joined(application, everything), await joined(application, stream)
        for previous, status in (("QUEUED", "SENDING"), ("SENDING", "DELIVERED"), ("DELIVERED", "READ")):
            await move(caller, factory, message, status, previous)
        await move(caller, factory, last, "SCHEDULED", "QUEUED")
        await one
        while (await everything.next())["messageStatusChanged"]["event"]["status"] != "SCHEDULED":
            pass
        found = []
        for _ in heard:
            found.append((await other if other is not None else await stream.next())["messageStatusChanged"])
            other = None
        if other is not None:
            other.cancel()
            await asyncio.gather(other, return_exceptions=True)
    assert [change["event"]["status"] for change in found] == heard


async def test_many_who_follow_cost_no_more_statements_than_one(
    new_caller: NewCaller, factory: RecordFactory, application: App
) -> None:
    counts = []
    for followers in (1, 25):
        caller = await new_caller()
        message = await factory.message(caller)
        async with AsyncExitStack() as stack:
            streams = [await stack.enter_async_context(following(caller)) for _ in range(followers)]
            waiting = [await joined(application, stream) for stream in streams]
            with statements(application) as seen:
                await move(caller, factory, message, "SENT", "QUEUED")
                told = await asyncio.gather(*waiting)
            assert {one["messageStatusChanged"]["event"]["status"] for one in told} == {"SENT"}
            counts.append(len([one for one in seen if "message_events" in one or "messages" in one]))
    assert counts == [2, 2]


async def test_equal_callers_share_one_execution_and_others_do_not(
    new_caller: NewCaller, factory: RecordFactory, application: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    caller = await new_caller()
    assert caller.principal is not None
    lesser = Caller(
        application, caller.engine, type(caller.principal)(caller.tenant, "lesser", frozenset({Scope.MESSAGES_READ}))
    )
    document = FOLLOW.replace("id status }", "id to }")
    message = await factory.message(caller)
    plan = caller.engine.plan(document)
    executed: list[object] = []

    def counted(executor: Any) -> Any:
        executed.append(executor)
        return execute(executor)

    from engine import plan as module

    execute = module.execute_subscription_event
    monkeypatch.setattr(module, "execute_subscription_event", counted)
    streams = []
    for number, who in enumerate([caller, caller, caller, lesser]):
        authority = (who.tenant, frozenset(who.principal.scopes)) if who.principal else None
        # The filter decides what is delivered, not how.
        variables = {"filter": {"statuses": ["SENT", "FAILED"][: 1 + number % 2]}}
        streams.append(Following(plan.stream(variables, who.context(), "r", authority)))
    waiting = [await joined(application, stream) for stream in streams[:3]]
    refused = asyncio.create_task(streams[3].answer())
    await until(_count(application), lambda count: count >= 4)
    await move(caller, factory, message, "SENT", "QUEUED")
    told = await asyncio.gather(*waiting)
    assert {one["messageStatusChanged"]["message"]["to"] for one in told} == {"+5511987654321"}
    assert [error["extensions"]["code"] for error in (await refused).errors] == ["FORBIDDEN"]
    assert len(executed) == 2
    for stream in streams:
        await stream.close()


def _count(application: App) -> Any:
    async def count() -> int:
        return sum(len(feed._subscribers) for feed, _ in application.services.feeds["Message"]._feeds.values())

    return count
