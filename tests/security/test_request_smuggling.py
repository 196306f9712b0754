"""Request smuggling: bytes after a request neither change it nor block its answer; none is read in two ways."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import uvicorn

from api.http.server import StrictHttpProtocol
from tests.execution.servers import LoopbackServer, wait_until
from tests.security.raw_http import exchange_bytes, request_head, status_code

HANDSHAKE = (
    "connection: upgrade",
    "upgrade: websocket",
    "sec-websocket-version: 13",
    "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==",
)


@dataclass
class Listening:
    """An application that says what it was asked, and answers when it is let."""

    port: int = 0
    asked: list[str] = field(default_factory=list)
    headers: list[bytes] = field(default_factory=list)
    may_answer: asyncio.Event = field(default_factory=asyncio.Event)
    gone: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, scope: Any, receive: Callable[[], Any], send: Callable[[Any], Any]) -> None:
        self.asked.append(f"{scope['type']} {scope['path']}")
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.accept"})
            return
        self.headers = [name for name, _ in scope["headers"]]
        while (await receive()).get("more_body"):
            pass
        if scope["path"] == "/stream":
            await self._stream(receive, send)
            return
        if scope["path"] == "/slow":
            await self.may_answer.wait()
        length = str(len(scope["path"])).encode()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", length)]})
        await send({"type": "http.response.body", "body": scope["path"].encode(), "more_body": False})

    async def _stream(self, receive: Callable[[], Any], send: Callable[[Any], Any]) -> None:
        listening = asyncio.create_task(receive())
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while not listening.done():
            await send({"type": "http.response.body", "body": b"on and on", "more_body": True})
            await asyncio.wait([listening], timeout=0.01)
        self.gone.set()


@pytest.fixture
async def app() -> AsyncIterator[Listening]:
    app, listener = Listening(), socket.create_server(("127.0.0.1", 0))
    app.port = listener.getsockname()[1]
    config = uvicorn.Config(
        app,
        http=StrictHttpProtocol,
        ws="websockets-sansio",
        log_config=None,
        lifespan="off",
        timeout_graceful_shutdown=1,
    )
    server = LoopbackServer(config)
    serve = asyncio.create_task(server.serve(sockets=[listener]))
    await wait_until(lambda: server.started)
    yield app
    server.should_exit = True
    await serve


async def answered(app: Listening, first: bytes) -> bytes:
    """Let the first request be answered only when all that was sent has been read."""
    talking = asyncio.create_task(exchange_bytes(app.port, first))
    await wait_until(lambda: bool(app.asked))
    app.may_answer.set()
    said, _ = await talking
    return said


async def test_bytes_after_a_body_are_no_header(app: Listening) -> None:
    body = b"3\r\nabc\r\n0\r\nx-forwarded-for: 192.0.2.1\r\nauthorization: Bearer x\r\n\r\n"
    said, _ = await exchange_bytes(
        app.port, request_head("POST", "/", "transfer-encoding: chunked", "connection: close") + body
    )
    assert (status_code(said), app.headers) == (200, [b"host", b"transfer-encoding", b"connection"])


@pytest.mark.parametrize(
    "behind", [b"\x01garbage", b"GET / HTTP/1.1\r\n\r\n", request_head("POST", "/", "content-length: x")]
)
async def test_a_valid_request_is_answered_even_if_invalid_bytes_follow(app: Listening, behind: bytes) -> None:
    said = await answered(app, request_head("POST", "/slow", "content-length: 3") + b"abc" + behind)
    assert (status_code(said), said.endswith(b"/slow"), said.count(b"HTTP/1.1 ")) == (200, True, 1)
    assert b"connection: close" in said


async def test_a_body_that_ends_in_invalid_bytes_is_refused(app: Listening) -> None:
    said, _ = await exchange_bytes(
        app.port, request_head("POST", "/", "transfer-encoding: chunked") + b"3\r\nabcdef\r\n"
    )
    assert (status_code(said), said.count(b"HTTP/1.1 ")) == (400, 1)


async def test_requests_that_follow_at_once_are_answered_in_their_order(app: Listening) -> None:
    said = await answered(
        app, request_head("GET", "/slow") + request_head("GET", "/b") + request_head("GET", "/c", "connection: close")
    )
    assert said.index(b"/slow") < said.index(b"/b") < said.index(b"/c")


async def test_a_socket_does_not_begin_while_an_answer_is_still_to_come(app: Listening) -> None:
    said = await answered(
        app, request_head("GET", "/slow") + request_head("GET", "/ws", *HANDSHAKE, "connection: upgrade, close")
    )
    assert (b" 101 " in said, status_code(said), said.index(b"/slow") < said.index(b"/ws")) == (False, 200, True)
    assert "websocket /ws" not in app.asked


async def test_a_handshake_with_a_body_is_no_handshake_and_gets_an_answer(app: Listening) -> None:
    said, _ = await exchange_bytes(app.port, request_head("POST", "/ws", *HANDSHAKE, "content-length: 3") + b"abc")
    assert (status_code(said), app.asked) == (200, ["http /ws"])


@pytest.mark.parametrize(
    "lines", [["content-length: 3"], ["transfer-encoding: chunked"], ["a: b"] * 200, [f"a: {'b' * 9_000}"]]
)
async def test_an_unreadable_handshake_holds_no_connection(app: Listening, lines: list[str]) -> None:
    said, _ = await exchange_bytes(app.port, request_head("GET", "/ws", *HANDSHAKE, *lines) + b"0\r\n\r\n")
    assert (status_code(said), app.asked) == (400, [])


async def test_bytes_after_a_refused_upgrade_are_not_read_as_a_request(app: Listening) -> None:
    upgrade = request_head("GET", "/slow", "connection: upgrade", "upgrade: h2c")
    said = await answered(app, upgrade + request_head("POST", "/lost", "content-length: 40"))
    assert (said.endswith(b"/slow"), b"connection: close" in said) == (True, True)


async def test_a_stream_ends_with_its_client_even_if_bytes_are_pending(app: Listening) -> None:
    for behind in (request_head("GET", "/b"), request_head("GET", "/ws", *HANDSHAKE)):
        app.gone.clear()
        _, writer = await asyncio.open_connection("127.0.0.1", app.port)
        writer.write(request_head("GET", "/stream") + behind)
        await wait_until(lambda: "http /stream" in app.asked)
        writer.transport.abort()
        async with asyncio.timeout(5):
            await app.gone.wait()


@pytest.mark.parametrize(
    "first",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n",
        b"GET /\r\n\r\n",
        b"GET / HTTP/2.0\r\nhost: a\r\n\r\n",
        b"GET / HTTP/1.1\nhost: a\n\n",
        b"GET / HTTP/1.1\r\nhost: a\rx: y\r\n\r\n",
        request_head("GET", "/", "x: a\r\n b"),
        request_head("GET", "/", "x: a\0b"),
        request_head("POST", "/", "transfer-encoding: chunked", "content-length: 3") + b"0\r\n\r\n",
        request_head("POST", "/", "content-length: 3", "transfer-encoding: gzip") + b"abc",
        request_head("POST", "/", "transfer-encoding: chunked", "transfer-encoding: identity") + b"0\r\n\r\n",
        request_head("POST", "/", "transfer-encoding : chunked") + b"0\r\n\r\n",
        request_head("POST", "/", "content-length: 3", "content-length: 3") + b"abc",
        request_head("POST", "/", "content-length: +3") + b"abc",
    ],
)
async def test_what_two_servers_could_read_two_ways_is_refused(app: Listening, first: bytes) -> None:
    said, _ = await exchange_bytes(app.port, first)
    assert (status_code(said), app.asked) == (400, [])
