"""Concurrent calls to the shared store share a round trip, and fail independently."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection
from structlog.testing import capture_logs

from core.rate_limit import SharedScripts
from tests.databases import SharedStores

ECHO = "return ARGV[1]"
BROKEN = "return redis.call('NOTHING')"


@pytest.fixture
async def redis(stores: SharedStores) -> AsyncIterator[Redis]:
    client = Redis.from_url(stores.urls.redis)
    yield client
    await client.aclose()


@pytest.fixture
def messages(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What was sent, each time."""
    sent: list[Any] = []
    usual = AbstractConnection.send_packed_command

    async def noted(self: AbstractConnection, command: Any, **more: Any) -> None:
        sent.append(command)
        await usual(self, command, **more)

    monkeypatch.setattr(AbstractConnection, "send_packed_command", noted)
    return sent


async def test_who_asks_at_the_same_time_shares_one_message_and_has_an_own_answer(
    redis: Redis, messages: list[Any]
) -> None:
    store = SharedScripts(redis, "test")
    await store.run(ECHO, [], "first")
    messages.clear()
    answers = await asyncio.gather(*(store.run(ECHO, [f"key:{number}"], number) for number in range(50)))
    assert answers == [str(number).encode() for number in range(50)]
    assert len(messages) == 1


async def test_an_emptied_store_loads_the_scripts_again(redis: Redis) -> None:
    store = SharedScripts(redis, "test")
    for _ in range(2):
        await redis.script_flush()
        answers = await asyncio.gather(*(store.run(script, [], 7) for script in (ECHO, "return 8", ECHO)))
        assert answers == [b"7", 8, b"7"]


async def test_a_failing_command_does_not_affect_the_others(redis: Redis) -> None:
    store = SharedScripts(redis, "test")
    with capture_logs() as logs:
        answers = await asyncio.gather(*(store.run(script, [], 7) for script in (ECHO, BROKEN, ECHO)))
    assert answers == [b"7", None, b"7"]
    assert logs[0]["event"] == "flow_store_away"


async def test_an_invalid_value_fails_only_its_own_caller(redis: Redis) -> None:
    store = SharedScripts(redis, "test")
    asked = (store.run(ECHO, [], what) for what in ("first", "\ud800", "last"))
    first, odd, last = await asyncio.gather(*asked, return_exceptions=True)
    assert (first, type(odd), last) == (b"first", UnicodeEncodeError, b"last")


async def test_who_goes_away_takes_nothing_from_the_others(redis: Redis) -> None:
    store = SharedScripts(redis, "test")
    gone, stays = (asyncio.create_task(store.run(ECHO, [], name)) for name in ("gone", "stays"))
    await asyncio.sleep(0)
    gone.cancel()
    assert await stays == b"stays"
    assert await store.run(ECHO, [], "later") == b"later"


async def test_a_programming_error_leaves_no_caller_waiting(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    def mistaken(*_: object, **__: object) -> None:
        raise LookupError("ours")

    monkeypatch.setattr(redis, "pipeline", mistaken)
    store = SharedScripts(redis, "test")
    found = await asyncio.gather(*(store.run(ECHO, [], what) for what in (7, 8)), return_exceptions=True)
    assert [type(one) for one in found] == [LookupError, LookupError]
