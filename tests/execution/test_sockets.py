"""graphql-transport-ws, spoken with a real server."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest
from litestar import Litestar
from structlog.testing import capture_logs
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Origin, Subprotocol

from api import sockets
from api.graphql import routes
from engine.engine import Engine
from tests.execution.conftest import eventually, serving, tasks_of
from tests.execution.sample import Journal, edge_over, schema, translate

OURS = Subprotocol("graphql-transport-ws")
INIT = {"type": "connection_init"}


async def say(socket: ClientConnection, *messages: object) -> None:
    for message in messages:
        await socket.send(message if isinstance(message, str | bytes) else orjson.dumps(message).decode())


async def hear(socket: ClientConnection) -> dict[str, Any]:
    message = orjson.loads(await asyncio.wait_for(socket.recv(), 5))
    assert isinstance(message, dict)
    return message


async def closed(socket: ClientConnection) -> int | None:
    """Listen until the server closes, and give its code."""
    try:
        while True:
            await hear(socket)
    except ConnectionClosed as ended:
        return ended.rcvd.code if ended.rcvd else None


def subscribe(key: object, query: object, **more: object) -> dict[str, object]:
    return {"id": key, "type": "subscribe", "payload": {"query": query, **more}}


@pytest.fixture
async def raw(host: str, journal: Journal) -> AsyncIterator[ClientConnection]:
    """A socket on which nothing has been said."""
    async with connect(f"ws://{host}/graphql", subprotocols=[OURS]) as socket:
        yield socket


@asynccontextmanager
async def begun(host: str, **init: object) -> AsyncIterator[ClientConnection]:
    async with connect(f"ws://{host}/graphql", subprotocols=[OURS]) as socket:
        await say(socket, {**INIT, **init})
        assert await hear(socket) == {"type": "connection_ack"}
        yield socket


@pytest.fixture
async def socket(host: str, journal: Journal) -> AsyncIterator[ClientConnection]:
    """A socket that has been acknowledged."""
    async with begun(host) as socket:
        yield socket


async def test_a_subscription_is_answered_event_by_event(socket: ClientConnection) -> None:
    await say(socket, subscribe("a", "subscription ($n: Int!) { count(to: $n) }", variables={"n": 2}))
    assert [await hear(socket) for _ in range(3)] == [
        {"id": "a", "type": "next", "payload": {"data": {"count": 1}}},
        {"id": "a", "type": "next", "payload": {"data": {"count": 2}}},
        {"id": "a", "type": "complete"},
    ]


async def test_queries_and_mutations_are_answered_once(socket: ClientConnection) -> None:
    for query, data in (("{ hello }", {"hello": "Hello, you!"}), ('mutation { rename(name: "A") }', {"rename": "A"})):
        await say(socket, subscribe("again", query))
        assert (await hear(socket))["payload"] == {"data": data}
        assert await hear(socket) == {"id": "again", "type": "complete"}


async def test_two_operations_share_a_socket_and_not_a_context(socket: ClientConnection, journal: Journal) -> None:
    await say(socket, subscribe("a", "subscription { watch }"), subscribe("b", "subscription { watch }"))
    heard = [await hear(socket), await hear(socket)]
    assert sorted(message["id"] for message in heard) == ["a", "b"]
    one, other = journal.contexts
    assert one.request_id != other.request_id
    await say(socket, {"id": "a", "type": "complete"}, subscribe("a", "{ hello }"))
    assert [(await hear(socket))["type"] for _ in range(2)] == ["next", "complete"]
    await eventually(lambda: journal.closed == 1)
    assert journal.opened == 2


async def test_a_client_that_leaves_closes_its_subscriptions(host: str, journal: Journal) -> None:
    with capture_logs() as logs:
        async with begun(host) as socket:
            await say(socket, subscribe("a", "subscription { watch }"), subscribe("b", "subscription { watch }"))
            await hear(socket)
            await hear(socket)
            assert tasks_of(sockets) != []
            socket.transport.abort()
        await eventually(lambda: journal.closed == 2)
        await eventually(lambda: tasks_of(sockets) == [])
    assert [entry for entry in logs if entry["log_level"] == "error"] == []


@pytest.mark.parametrize(
    ("query", "code"),
    [("{", "SYNTAX"), ("{ nothing }", "VALIDATION"), ("query ($n: String!) { hello(name: $n) }", "VARIABLES")],
)
async def test_a_refused_operation_is_an_error_of_its_own(socket: ClientConnection, query: str, code: str) -> None:
    await say(socket, subscribe("bad", query))
    message = await hear(socket)
    assert (message["id"], message["type"]) == ("bad", "error")
    (error,) = message["payload"]
    assert error["extensions"]["code"] == code
    await say(socket, subscribe("bad", "{ hello }"))
    assert (await hear(socket))["type"] == "next"


async def test_a_failing_field_is_masked(socket: ClientConnection) -> None:
    with capture_logs():
        await say(socket, subscribe("a", "subscription { breaking }"))
        heard = [await hear(socket) for _ in range(3)]
    assert [message["type"] for message in heard] == ["next", "next", "complete"]
    assert heard[1]["payload"]["data"] is None
    assert heard[1]["payload"]["errors"][0]["extensions"]["code"] == "INTERNAL"
    assert "hunter2" not in str(heard)


@pytest.mark.parametrize(
    "payload",
    [{"Authorization": "Bearer ada"}, {"authorization": "bearer ada"}, {"AUTHORIZATION": "Bearer ada", "other": 1}],
)
async def test_the_token_comes_with_the_first_message(host: str, journal: Journal, payload: dict[str, Any]) -> None:
    async with begun(host, payload=payload) as socket:
        await say(socket, subscribe("a", "{ whoami __schema { queryType { name } } }"))
        assert (await hear(socket))["payload"]["data"]["whoami"] == "ada"


async def test_the_token_may_come_with_the_handshake(host: str, journal: Journal) -> None:
    headers = {"Authorization": "Bearer ada"}
    async with connect(f"ws://{host}/graphql", subprotocols=[OURS], additional_headers=headers) as socket:
        await say(socket, INIT, subscribe("a", "{ whoami }"))
        assert (await hear(socket))["type"] == "connection_ack"
        assert (await hear(socket))["payload"] == {"data": {"whoami": "ada"}}


async def test_a_ping_is_answered_before_and_after_the_beginning(raw: ClientConnection) -> None:
    await say(raw, {"type": "ping"})
    assert await hear(raw) == {"type": "pong"}
    await say(raw, INIT, {"type": "pong"}, {"type": "ping", "payload": {"n": 1}})
    assert await hear(raw) == {"type": "connection_ack"}
    assert await hear(raw) == {"type": "pong", "payload": {"n": 1}}


@pytest.mark.parametrize(
    ("messages", "code"),
    [
        ([subscribe("a", "{ hello }")], 4401),
        ([{**INIT, "payload": {"authorization": "Bearer eve"}}], 4403),
        ([{**INIT, "payload": {"authorization": "Basic eve"}}], 4403),
        ([{**INIT, "payload": {"authorization": 1}}], 4403),
        ([INIT, INIT], 4429),
        ([INIT, subscribe("a", "subscription { watch }"), subscribe("a", "{ hello }")], 4409),
        ([INIT, subscribe("é" * 200, "subscription { watch }"), subscribe("é" * 200, "{ hello }")], 4409),
        (["{"], 4400),
        ([b'{"type":"ping"}'], 4400),
        (["[]"], 4400),
        (["1"], 4400),
        (["null"], 4400),
        (["[" * 50_000], 4400),
        ([{"type": 1}], 4400),
        ([{"type": "start"}], 4400),
        ([{**INIT, "payload": []}], 4400),
        ([{"type": "ping", "payload": "x"}], 4400),
        ([INIT, {"type": "complete"}], 4400),
        ([INIT, subscribe(1, "{ hello }")], 4400),
        ([INIT, subscribe("", "{ hello }")], 4400),
        ([INIT, subscribe("a", 1)], 4400),
        ([INIT, subscribe("a", "{ hello }", variables=[])], 4400),
        ([INIT, {"id": "a", "type": "subscribe"}], 4400),
        ([INIT, {"id": "a", "type": "subscribe", "payload": []}], 4400),
        (["x" * 262_145], 1009),
    ],
)
async def test_what_breaks_the_protocol_closes_the_socket(
    raw: ClientConnection, journal: Journal, messages: list[object], code: int
) -> None:
    await say(raw, *messages)
    assert await closed(raw) == code
    await eventually(lambda: journal.closed == journal.opened)
    await eventually(lambda: tasks_of(sockets) == [])


async def test_a_failure_of_ours_closes_the_socket_and_is_logged(raw: ClientConnection) -> None:
    with capture_logs() as logs:
        await say(raw, {**INIT, "payload": {"authorization": "Bearer broken"}})
        assert await closed(raw) == 1011
    assert [entry["event"] for entry in logs] == ["socket_failed"]


async def test_a_client_that_never_begins_is_not_waited_for(
    host: str, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sockets, "INIT_SECONDS", 0.05)
    async with connect(f"ws://{host}/graphql", subprotocols=[OURS]) as socket:
        assert await closed(socket) == 4408


async def test_one_that_has_begun_is(host: str, journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets, "INIT_SECONDS", 0.05)
    async with begun(host) as socket:
        await asyncio.sleep(0.1)
        await say(socket, subscribe("a", "{ hello }"))
        assert (await hear(socket))["type"] == "next"


@pytest.mark.parametrize("subprotocols", [None, ["graphql-ws"], ["chat", "superchat"]])
async def test_another_subprotocol_is_not_spoken(host: str, subprotocols: list[Subprotocol] | None) -> None:
    async with connect(f"ws://{host}/graphql", subprotocols=subprotocols) as socket:
        assert await closed(socket) == 4406


@pytest.mark.parametrize("origin", ["https://evil.example", "null"])
async def test_pages_of_other_sites_get_no_socket(host: str, origin: str) -> None:
    with pytest.raises(InvalidStatus) as refused:
        async with connect(f"ws://{host}/graphql", subprotocols=[OURS], origin=Origin(origin)):
            pass
    assert refused.value.response.status_code == 403


async def test_pages_of_ours_and_allowed_ones_get_a_socket(host: str) -> None:
    for origin in (f"http://{host}", "https://dashboard.example"):
        async with connect(f"ws://{host}/graphql", subprotocols=[OURS], origin=Origin(origin)) as socket:
            await say(socket, INIT)
            assert (await hear(socket))["type"] == "connection_ack"


async def test_a_socket_carries_so_many_operations_and_no_more(socket: ClientConnection, journal: Journal) -> None:
    await say(socket, *(subscribe(key, "subscription { watch }") for key in "abcd"))
    heard = {message["id"]: message for message in [await hear(socket) for _ in range(4)]}
    assert [heard[key]["type"] for key in "abcd"] == ["next", "next", "next", "error"]
    assert heard["d"]["payload"][0]["extensions"]["code"] == "LIMIT_EXCEEDED"
    assert journal.opened == 3


async def test_a_caller_has_so_many_sockets_and_no_more(host: str, journal: Journal) -> None:
    ada = {"Authorization": "Bearer ada"}
    async with begun(host, payload=ada), begun(host, payload=ada), begun(host, payload=ada):
        async with connect(f"ws://{host}/graphql", subprotocols=[OURS]) as fourth:
            await say(fourth, {**INIT, "payload": ada})
            assert await closed(fourth) == 1013
        async with begun(host, payload={"Authorization": "Bearer bob"}), begun(host):
            pass
    await eventually(lambda: tasks_of(sockets) == [])
    async with begun(host, payload=ada):
        pass


async def test_a_message_of_many_bytes_in_few_characters_is_too_big(raw: ClientConnection) -> None:
    await say(raw, "é" * 131_073)
    assert await closed(raw) == 1009


async def test_a_socket_says_which_languages_its_page_reads(host: str, journal: Journal) -> None:
    async with begun(host, payload={"Accept-Language": "pt-BR, en;q=0.8"}) as socket:
        await say(socket, subscribe("a", "{ hello }"))
        await hear(socket)
    assert journal.contexts[0].languages == ("pt-br", "en")


async def test_a_document_nobody_has_registered_is_an_error_of_its_own(socket: ClientConnection) -> None:
    payload = {"extensions": {"persistedQuery": {"version": 1, "sha256Hash": "ab" * 32}}}
    await say(socket, {"id": "a", "type": "subscribe", "payload": payload}, subscribe("b", "{ hello }"))
    heard = [await hear(socket) for _ in range(3)]
    assert [(message["id"], message["type"]) for message in heard] == [("a", "error"), ("b", "next"), ("b", "complete")]


async def test_a_client_that_reads_nothing_is_let_go(
    host: str, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sockets, "SEND_SECONDS", 0.05)
    url = f"ws://{host}/graphql"
    async with connect(url, subprotocols=[OURS], compression=None, close_timeout=0.1) as socket:
        await say(socket, INIT, subscribe("w", "subscription { watch }"))
        await hear(socket)
        socket.transport.pause_reading()
        flood = asyncio.create_task(ask_for_much(socket))
        await eventually(lambda: journal.closed == 1)
        # The server reads no more, so what is on its way never arrives.
        flood.cancel()
        socket.transport.abort()
    await eventually(lambda: tasks_of(sockets) == [], within=10)


async def ask_for_much(socket: ClientConnection) -> None:
    for number in range(100):
        long = {"n": "x" * 250_000}
        await say(socket, subscribe(f"{number}", "query ($n: String!) { hello(name: $n) }", variables=long))


async def test_a_server_that_goes_down_says_so_and_leaves_nothing_open() -> None:
    journal = Journal()
    app = Litestar(
        routes(edge_over(Engine(schema, translate=translate), journal)), openapi_config=None, logging_config=None
    )
    async with serving(app) as (server, host), begun(host) as socket:
        await say(socket, subscribe("a", "subscription { watch }"))
        await hear(socket)
        server.should_exit = True
        assert await closed(socket) in (1001, 1012)
        await eventually(lambda: journal.closed == 1)
