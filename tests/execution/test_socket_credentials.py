"""A socket outlives its token when a fresh one comes in time, and nothing else does."""

import time

import pytest
from websockets.asyncio.client import connect

from api import sockets
from tests.execution.conftest import eventually, tasks_of
from tests.execution.sample import Journal
from tests.execution.test_sockets import INIT, OURS, begun, closed, hear, say, subscribe

ADA = {"Authorization": "Bearer ada"}
WATCH = "subscription { watch }"


def ends(journal: Journal, **tokens: float) -> None:
    """Let tokens end so many seconds from now."""
    journal.expiries.update({name.replace("_", "-"): time.time() + seconds for name, seconds in tokens.items()})


async def test_a_socket_ends_with_its_token_after_asking_for_another(host: str, journal: Journal) -> None:
    ends(journal, ada=0.1)
    async with begun(host, payload=ADA) as socket:
        await say(socket, subscribe("a", WATCH))
        assert (await hear(socket))["type"] == "next"
        asked = await hear(socket)
        assert (asked["type"], asked["payload"].keys()) == ("ping", {"authorizationExpiresIn"})
        assert await closed(socket) == 4401
    await eventually(lambda: journal.closed == 1)
    await eventually(lambda: tasks_of(sockets) == [])


@pytest.mark.parametrize("kind", ["ping", "pong"])
async def test_a_socket_outlives_its_token_by_a_fresh_one(host: str, journal: Journal, kind: str) -> None:
    ends(journal, ada=0.2, ada_2=60)
    async with begun(host, payload=ADA) as socket:
        await say(socket, subscribe("a", WATCH))
        assert (await hear(socket))["type"] == "next"
        assert (await hear(socket))["type"] == "ping"
        await say(socket, {"type": kind, "payload": {"authorization": "Bearer ada-2"}}, {"type": "ping"})
        # Never with the token in it.
        assert await hear(socket) == {"type": "pong"}
        await eventually(lambda: time.time() > journal.expiries["ada"] + 0.05)
        await say(socket, subscribe("b", "{ whoami }"))
        heard = await hear(socket)
        while heard["type"] == "pong":
            heard = await hear(socket)
        assert heard["payload"] == {"data": {"whoami": "ada-2"}}
        assert (journal.opened, journal.closed) == (1, 0)


async def test_the_fresh_token_ends_too(host: str, journal: Journal) -> None:
    ends(journal, ada=60, ada_2=0.1)
    async with begun(host, payload=ADA) as socket:
        await say(socket, {"type": "ping", "payload": {"Authorization": "Bearer ada-2"}})
        assert await closed(socket) == 4401


async def test_a_token_without_an_end_may_be_followed_by_one_with_an_end(host: str, journal: Journal) -> None:
    ends(journal, ada_2=0.1)
    async with begun(host, payload=ADA) as socket:
        await say(socket, {"type": "ping", "payload": {"Authorization": "Bearer ada-2"}})
        assert await closed(socket) == 4401


@pytest.mark.parametrize("authorization", ["Bearer bob", "Bearer eve", "Basic x", "", 1])
async def test_a_fresh_token_speaks_for_the_same_caller(host: str, journal: Journal, authorization: object) -> None:
    async with begun(host, payload=ADA) as socket:
        await say(socket, {"type": "ping", "payload": {"Authorization": authorization}})
        assert await closed(socket) == 4403


async def test_whoever_cannot_be_checked_now_is_asked_to_come_later(host: str) -> None:
    async with connect(f"ws://{host}/graphql", subprotocols=[OURS]) as socket:
        await say(socket, {**INIT, "payload": {"Authorization": "Bearer later"}})
        assert await closed(socket) == 1013


async def test_a_fresh_token_that_cannot_be_checked_now_ends_the_socket_until_later(host: str) -> None:
    async with begun(host, payload=ADA) as socket:
        await say(socket, {"type": "ping", "payload": {"Authorization": "Bearer later"}})
        assert await closed(socket) == 1013


async def test_a_socket_ends_when_its_caller_is_not_believed_any_more(host: str, journal: Journal) -> None:
    async with begun(host, payload={"Authorization": "Bearer bob"}) as bobs, begun(host, payload=ADA) as adas:
        await say(bobs, subscribe("a", WATCH))
        assert (await hear(bobs))["type"] == "next"
        journal.refused.set()
        assert await closed(bobs) == 4403
        await say(adas, {"type": "ping"})
        assert (await hear(adas))["type"] == "pong"
    await eventually(lambda: journal.closed == 1)
    await eventually(lambda: tasks_of(sockets) == [])
