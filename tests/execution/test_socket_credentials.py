"""A socket outlives its token only if a fresh one arrives in time."""

import time

import pytest
from websockets.asyncio.client import connect

from api.http import websocket
from tests.execution.sample import Journal
from tests.execution.servers import tasks_of, wait_until
from tests.execution.sockets import (
    CONNECTION_INIT,
    GRAPHQL_TRANSPORT_WS,
    close_code,
    open_socket,
    receive_json,
    send_json,
    subscribe_message,
)

ADA = {"Authorization": "Bearer ada"}
WATCH = "subscription { watch }"


def ends(journal: Journal, **tokens: float) -> None:
    """Let tokens end so many seconds from now."""
    journal.expiries.update({name.replace("_", "-"): time.time() + seconds for name, seconds in tokens.items()})


async def test_a_socket_ends_with_its_token_after_asking_for_another(host: str, journal: Journal) -> None:
    ends(journal, ada=0.1)
    async with open_socket(host, payload=ADA) as socket:
        await send_json(socket, subscribe_message("a", WATCH))
        assert (await receive_json(socket))["type"] == "next"
        asked = await receive_json(socket)
        assert (asked["type"], asked["payload"].keys()) == ("ping", {"authorizationExpiresIn"})
        assert await close_code(socket) == 4401
    await wait_until(lambda: journal.closed == 1)
    await wait_until(lambda: tasks_of(websocket) == [])


@pytest.mark.parametrize("kind", ["ping", "pong"])
async def test_a_socket_outlives_its_token_by_a_fresh_one(host: str, journal: Journal, kind: str) -> None:
    ends(journal, ada=0.2, ada_2=60)
    async with open_socket(host, payload=ADA) as socket:
        await send_json(socket, subscribe_message("a", WATCH))
        assert (await receive_json(socket))["type"] == "next"
        assert (await receive_json(socket))["type"] == "ping"
        await send_json(socket, {"type": kind, "payload": {"authorization": "Bearer ada-2"}}, {"type": "ping"})
        # Never with the token in it.
        assert await receive_json(socket) == {"type": "pong"}
        await wait_until(lambda: time.time() > journal.expiries["ada"] + 0.05)
        await send_json(socket, subscribe_message("b", "{ whoami }"))
        heard = await receive_json(socket)
        while heard["type"] == "pong":
            heard = await receive_json(socket)
        assert heard["payload"] == {"data": {"whoami": "ada-2"}}
        assert (journal.opened, journal.closed) == (1, 0)


async def test_the_fresh_token_ends_too(host: str, journal: Journal) -> None:
    ends(journal, ada=60, ada_2=0.1)
    async with open_socket(host, payload=ADA) as socket:
        await send_json(socket, {"type": "ping", "payload": {"Authorization": "Bearer ada-2"}})
        assert await close_code(socket) == 4401


async def test_a_token_without_an_end_may_be_followed_by_one_with_an_end(host: str, journal: Journal) -> None:
    ends(journal, ada_2=0.1)
    async with open_socket(host, payload=ADA) as socket:
        await send_json(socket, {"type": "ping", "payload": {"Authorization": "Bearer ada-2"}})
        assert await close_code(socket) == 4401


@pytest.mark.parametrize("authorization", ["Bearer bob", "Bearer eve", "Basic x", "", 1])
async def test_a_fresh_token_speaks_for_the_same_caller(host: str, journal: Journal, authorization: object) -> None:
    async with open_socket(host, payload=ADA) as socket:
        await send_json(socket, {"type": "ping", "payload": {"Authorization": authorization}})
        assert await close_code(socket) == 4403


async def test_a_caller_that_cannot_be_checked_now_is_asked_to_retry(host: str) -> None:
    async with connect(f"ws://{host}/graphql", subprotocols=[GRAPHQL_TRANSPORT_WS]) as socket:
        await send_json(socket, {**CONNECTION_INIT, "payload": {"Authorization": "Bearer later"}})
        assert await close_code(socket) == 1013


async def test_a_fresh_token_that_cannot_be_checked_now_ends_the_socket_until_later(host: str) -> None:
    async with open_socket(host, payload=ADA) as socket:
        await send_json(socket, {"type": "ping", "payload": {"Authorization": "Bearer later"}})
        assert await close_code(socket) == 1013


async def test_a_socket_ends_when_its_credentials_are_no_longer_valid(host: str, journal: Journal) -> None:
    async with (
        open_socket(host, payload={"Authorization": "Bearer bob"}) as bobs,
        open_socket(host, payload=ADA) as adas,
    ):
        await send_json(bobs, subscribe_message("a", WATCH))
        assert (await receive_json(bobs))["type"] == "next"
        journal.refused.set()
        assert await close_code(bobs) == 4403
        await send_json(adas, {"type": "ping"})
        assert (await receive_json(adas))["type"] == "pong"
    await wait_until(lambda: journal.closed == 1)
    await wait_until(lambda: tasks_of(websocket) == [])
