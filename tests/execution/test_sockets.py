"""graphql-transport-ws, with a real server."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from litestar import Litestar
from structlog.testing import capture_logs
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus
from websockets.typing import Origin, Subprotocol

from api.http import websocket
from api.http.graphql import routes
from engine.engine import Engine
from tests.execution.sample import Journal, edge_over, schema, translate
from tests.execution.servers import serving, tasks_of, wait_until
from tests.execution.sockets import (
    CONNECTION_INIT,
    GRAPHQL_TRANSPORT_WS,
    close_code,
    open_socket,
    receive_json,
    send_json,
    subscribe_message,
)


@pytest.fixture
async def raw(host: str, journal: Journal) -> AsyncIterator[ClientConnection]:
    """A socket on which nothing has been said."""
    async with connect(f"ws://{host}/graphql", subprotocols=[GRAPHQL_TRANSPORT_WS]) as socket:
        yield socket


@pytest.fixture
async def socket(host: str, journal: Journal) -> AsyncIterator[ClientConnection]:
    """A socket that has been acknowledged."""
    async with open_socket(host) as socket:
        yield socket


async def test_a_subscription_is_answered_event_by_event(socket: ClientConnection) -> None:
    await send_json(socket, subscribe_message("a", "subscription ($n: Int!) { count(to: $n) }", variables={"n": 2}))
    assert [await receive_json(socket) for _ in range(3)] == [
        {"id": "a", "type": "next", "payload": {"data": {"count": 1}}},
        {"id": "a", "type": "next", "payload": {"data": {"count": 2}}},
        {"id": "a", "type": "complete"},
    ]


async def test_queries_and_mutations_are_answered_once(socket: ClientConnection) -> None:
    for query, data in (("{ hello }", {"hello": "Hello, you!"}), ('mutation { rename(name: "A") }', {"rename": "A"})):
        await send_json(socket, subscribe_message("again", query))
        assert (await receive_json(socket))["payload"] == {"data": data}
        assert await receive_json(socket) == {"id": "again", "type": "complete"}


async def test_two_operations_share_a_socket_and_not_a_context(socket: ClientConnection, journal: Journal) -> None:
    await send_json(
        socket, subscribe_message("a", "subscription { watch }"), subscribe_message("b", "subscription { watch }")
    )
    heard = [await receive_json(socket), await receive_json(socket)]
    assert sorted(message["id"] for message in heard) == ["a", "b"]
    one, other = journal.contexts
    assert one.request_id != other.request_id
    await send_json(socket, {"id": "a", "type": "complete"}, subscribe_message("a", "{ hello }"))
    assert [(await receive_json(socket))["type"] for _ in range(2)] == ["next", "complete"]
    await wait_until(lambda: journal.closed == 1)
    assert journal.opened == 2


async def test_a_client_that_leaves_closes_its_subscriptions(host: str, journal: Journal) -> None:
    with capture_logs() as logs:
        async with open_socket(host) as socket:
            await send_json(
                socket,
                subscribe_message("a", "subscription { watch }"),
                subscribe_message("b", "subscription { watch }"),
            )
            await receive_json(socket)
            await receive_json(socket)
            assert tasks_of(websocket) != []
            socket.transport.abort()
        await wait_until(lambda: journal.closed == 2)
        await wait_until(lambda: tasks_of(websocket) == [])
    assert [entry for entry in logs if entry["log_level"] == "error"] == []


@pytest.mark.parametrize(
    ("query", "code"),
    [("{", "SYNTAX"), ("{ nothing }", "VALIDATION"), ("query ($n: String!) { hello(name: $n) }", "VARIABLES")],
)
async def test_a_refused_operation_is_an_error_of_its_own(socket: ClientConnection, query: str, code: str) -> None:
    await send_json(socket, subscribe_message("bad", query))
    message = await receive_json(socket)
    assert (message["id"], message["type"]) == ("bad", "error")
    (error,) = message["payload"]
    assert error["extensions"]["code"] == code
    await send_json(socket, subscribe_message("bad", "{ hello }"))
    assert (await receive_json(socket))["type"] == "next"


async def test_a_failing_field_is_masked(socket: ClientConnection) -> None:
    with capture_logs():
        await send_json(socket, subscribe_message("a", "subscription { breaking }"))
        heard = [await receive_json(socket) for _ in range(3)]
    assert [message["type"] for message in heard] == ["next", "next", "complete"]
    assert heard[1]["payload"]["data"] is None
    assert heard[1]["payload"]["errors"][0]["extensions"]["code"] == "INTERNAL"
    assert "hunter2" not in str(heard)


@pytest.mark.parametrize(
    "payload",
    [{"Authorization": "Bearer ada"}, {"authorization": "bearer ada"}, {"AUTHORIZATION": "Bearer ada", "other": 1}],
)
async def test_the_token_comes_with_the_first_message(host: str, journal: Journal, payload: dict[str, Any]) -> None:
    async with open_socket(host, payload=payload) as socket:
        await send_json(socket, subscribe_message("a", "{ whoami __schema { queryType { name } } }"))
        assert (await receive_json(socket))["payload"]["data"]["whoami"] == "ada"


async def test_the_token_may_come_with_the_handshake(host: str, journal: Journal) -> None:
    headers = {"Authorization": "Bearer ada"}
    async with connect(
        f"ws://{host}/graphql", subprotocols=[GRAPHQL_TRANSPORT_WS], additional_headers=headers
    ) as socket:
        await send_json(socket, CONNECTION_INIT, subscribe_message("a", "{ whoami }"))
        assert (await receive_json(socket))["type"] == "connection_ack"
        assert (await receive_json(socket))["payload"] == {"data": {"whoami": "ada"}}


async def test_a_ping_is_answered_before_and_after_the_beginning(raw: ClientConnection) -> None:
    await send_json(raw, {"type": "ping"})
    assert await receive_json(raw) == {"type": "pong"}
    await send_json(raw, CONNECTION_INIT, {"type": "pong"}, {"type": "ping", "payload": {"n": 1}})
    assert await receive_json(raw) == {"type": "connection_ack"}
    assert await receive_json(raw) == {"type": "pong", "payload": {"n": 1}}


@pytest.mark.parametrize(
    ("messages", "code"),
    [
        ([subscribe_message("a", "{ hello }")], 4401),
        ([{**CONNECTION_INIT, "payload": {"authorization": "Bearer eve"}}], 4403),
        ([{**CONNECTION_INIT, "payload": {"authorization": "Basic eve"}}], 4403),
        ([{**CONNECTION_INIT, "payload": {"authorization": 1}}], 4403),
        ([CONNECTION_INIT, CONNECTION_INIT], 4429),
        (
            [CONNECTION_INIT, subscribe_message("a", "subscription { watch }"), subscribe_message("a", "{ hello }")],
            4409,
        ),
        (
            [
                CONNECTION_INIT,
                subscribe_message("é" * 200, "subscription { watch }"),
                subscribe_message("é" * 200, "{ hello }"),
            ],
            4409,
        ),
        (["{"], 4400),
        ([b'{"type":"ping"}'], 4400),
        (["[]"], 4400),
        (["1"], 4400),
        (["null"], 4400),
        (["[" * 50_000], 4400),
        ([{"type": 1}], 4400),
        ([{"type": "start"}], 4400),
        ([{**CONNECTION_INIT, "payload": []}], 4400),
        ([{"type": "ping", "payload": "x"}], 4400),
        ([CONNECTION_INIT, {"type": "complete"}], 4400),
        ([CONNECTION_INIT, subscribe_message(1, "{ hello }")], 4400),
        ([CONNECTION_INIT, subscribe_message("", "{ hello }")], 4400),
        ([CONNECTION_INIT, subscribe_message("a", 1)], 4400),
        ([CONNECTION_INIT, subscribe_message("a", "{ hello }", variables=[])], 4400),
        ([CONNECTION_INIT, {"id": "a", "type": "subscribe"}], 4400),
        ([CONNECTION_INIT, {"id": "a", "type": "subscribe", "payload": []}], 4400),
        (["x" * 262_145], 1009),
    ],
)
async def test_what_breaks_the_protocol_closes_the_socket(
    raw: ClientConnection, journal: Journal, messages: list[object], code: int
) -> None:
    await send_json(raw, *messages)
    assert await close_code(raw) == code
    await wait_until(lambda: journal.closed == journal.opened)
    await wait_until(lambda: tasks_of(websocket) == [])


async def test_a_failure_of_ours_closes_the_socket_and_is_logged(raw: ClientConnection) -> None:
    with capture_logs() as logs:
        await send_json(raw, {**CONNECTION_INIT, "payload": {"authorization": "Bearer broken"}})
        assert await close_code(raw) == 1011
    assert [entry["event"] for entry in logs] == ["socket_failed"]


async def test_a_client_that_never_begins_is_not_waited_for(
    host: str, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(websocket, "INIT_SECONDS", 0.05)
    async with connect(f"ws://{host}/graphql", subprotocols=[GRAPHQL_TRANSPORT_WS]) as socket:
        assert await close_code(socket) == 4408


async def test_one_that_has_begun_is(host: str, journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(websocket, "INIT_SECONDS", 0.05)
    async with open_socket(host) as socket:
        await asyncio.sleep(0.1)
        await send_json(socket, subscribe_message("a", "{ hello }"))
        assert (await receive_json(socket))["type"] == "next"


@pytest.mark.parametrize("subprotocols", [None, ["graphql-ws"], ["chat", "superchat"]])
async def test_another_subprotocol_is_not_spoken(host: str, subprotocols: list[Subprotocol] | None) -> None:
    async with connect(f"ws://{host}/graphql", subprotocols=subprotocols) as socket:
        assert await close_code(socket) == 4406


@pytest.mark.parametrize("origin", ["https://evil.example", "null"])
async def test_pages_of_other_sites_get_no_socket(host: str, origin: str) -> None:
    with pytest.raises(InvalidStatus) as refused:
        async with connect(f"ws://{host}/graphql", subprotocols=[GRAPHQL_TRANSPORT_WS], origin=Origin(origin)):
            pass
    assert refused.value.response.status_code == 403


async def test_pages_of_ours_and_allowed_ones_get_a_socket(host: str) -> None:
    for origin in (f"http://{host}", "https://dashboard.example"):
        async with connect(
            f"ws://{host}/graphql", subprotocols=[GRAPHQL_TRANSPORT_WS], origin=Origin(origin)
        ) as socket:
            await send_json(socket, CONNECTION_INIT)
            assert (await receive_json(socket))["type"] == "connection_ack"


async def test_a_socket_carries_so_many_operations_and_no_more(socket: ClientConnection, journal: Journal) -> None:
    await send_json(socket, *(subscribe_message(key, "subscription { watch }") for key in "abcd"))
    heard = {message["id"]: message for message in [await receive_json(socket) for _ in range(4)]}
    assert [heard[key]["type"] for key in "abcd"] == ["next", "next", "next", "error"]
    assert heard["d"]["payload"][0]["extensions"]["code"] == "LIMIT_EXCEEDED"
    assert journal.opened == 3


async def test_a_caller_has_so_many_sockets_and_no_more(host: str, journal: Journal) -> None:
    ada = {"Authorization": "Bearer ada"}
    async with open_socket(host, payload=ada), open_socket(host, payload=ada), open_socket(host, payload=ada):
        async with connect(f"ws://{host}/graphql", subprotocols=[GRAPHQL_TRANSPORT_WS]) as fourth:
            await send_json(fourth, {**CONNECTION_INIT, "payload": ada})
            assert await close_code(fourth) == 1013
        async with open_socket(host, payload={"Authorization": "Bearer bob"}), open_socket(host):
            pass
    await wait_until(lambda: tasks_of(websocket) == [])
    async with open_socket(host, payload=ada):
        pass


async def test_a_message_of_many_bytes_in_few_characters_is_too_big(raw: ClientConnection) -> None:
    await send_json(raw, "é" * 131_073)
    assert await close_code(raw) == 1009


async def test_a_socket_says_which_languages_its_page_reads(host: str, journal: Journal) -> None:
    async with open_socket(host, payload={"Accept-Language": "pt-BR, en;q=0.8"}) as socket:
        await send_json(socket, subscribe_message("a", "{ hello }"))
        await receive_json(socket)
    assert journal.contexts[0].languages == ("pt-br", "en")


async def test_an_unregistered_document_has_an_error_of_its_own(socket: ClientConnection) -> None:
    payload = {"extensions": {"persistedQuery": {"version": 1, "sha256Hash": "ab" * 32}}}
    await send_json(socket, {"id": "a", "type": "subscribe", "payload": payload}, subscribe_message("b", "{ hello }"))
    heard = [await receive_json(socket) for _ in range(3)]
    assert [(message["id"], message["type"]) for message in heard] == [("a", "error"), ("b", "next"), ("b", "complete")]


async def test_a_client_that_reads_nothing_is_let_go(
    host: str, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(websocket, "SEND_SECONDS", 0.05)
    url = f"ws://{host}/graphql"
    async with connect(url, subprotocols=[GRAPHQL_TRANSPORT_WS], compression=None, close_timeout=0.1) as socket:
        await send_json(socket, CONNECTION_INIT, subscribe_message("w", "subscription { watch }"))
        await receive_json(socket)
        socket.transport.pause_reading()
        flood = asyncio.create_task(ask_for_much(socket))
        await wait_until(lambda: journal.closed == 1)
        # The server reads no more, so what is on its way never arrives.
        flood.cancel()
        socket.transport.abort()
    await wait_until(lambda: tasks_of(websocket) == [], within=10)


async def ask_for_much(socket: ClientConnection) -> None:
    for number in range(100):
        long = {"n": "x" * 250_000}
        await send_json(
            socket, subscribe_message(f"{number}", "query ($n: String!) { hello(name: $n) }", variables=long)
        )


async def test_a_server_that_goes_down_says_so_and_leaves_nothing_open() -> None:
    journal = Journal()
    app = Litestar(
        routes(edge_over(Engine(schema, translate=translate), journal)), openapi_config=None, logging_config=None
    )
    async with serving(app) as (server, host), open_socket(host) as socket:
        await send_json(socket, subscribe_message("a", "subscription { watch }"))
        await receive_json(socket)
        server.should_exit = True
        assert await close_code(socket) in (1001, 1012)
        await wait_until(lambda: journal.closed == 1)
