"""Requests that are too large, too slow or never end, sent to a real server over a real connection."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from api.http import exchange, limits, server, webhooks
from api.http.limits import MOST_ON_CREDIT
from tests.databases import SharedStores, Urls
from tests.security.raw_http import (
    BAD_TOKEN,
    GOOD_TOKEN,
    SEND_LIMIT,
    exchange_bytes,
    paths_of,
    request_head,
    serving,
    status_code,
)


@pytest.fixture(scope="module")
async def urls_here(stores: SharedStores) -> AsyncIterator[Urls]:
    async with stores.database() as urls:
        yield urls


@pytest.fixture(scope="module")
async def port(urls_here: Urls) -> AsyncIterator[int]:
    async with serving(urls_here) as (_, port):
        yield port


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the server hardly any patience."""
    monkeypatch.setattr(server, "HEAD_SECONDS", 0.3)
    monkeypatch.setattr(limits, "LINGER_SECONDS", 0.2)
    monkeypatch.setattr(limits, "GOODBYE_SECONDS", 0.2)
    monkeypatch.setattr(exchange, "READ_SECONDS", 0.3)
    monkeypatch.setattr(webhooks, "READ_SECONDS", 0.3)


CHUNK = b"10000\r\n" + b"x" * 65_536 + b"\r\n"
JSON = "content-type: application/json"


@pytest.mark.usefixtures("hurried")
@pytest.mark.parametrize("method", ["POST", "GET", "DELETE"])
async def test_a_body_without_end_is_read_to_its_end_on_no_route(urls_here: Urls, method: str) -> None:
    async with serving(urls_here) as (app, port):
        for path in paths_of(app):
            chunked = request_head(method, path, JSON, "transfer-encoding: chunked")
            said, sent = await exchange_bytes(port, chunked, lambda: CHUNK)
            assert sent < SEND_LIMIT, path
            # A hang-up may overtake the answer, as TCP has it; if it came, it is a refusal or an answer to no body.
            assert status_code(said) != 500, path
            announced = request_head(method, path, JSON, f"content-length: {10**12}")
            said, sent = await exchange_bytes(port, announced, lambda: b"x" * 65_536)
            assert sent < SEND_LIMIT, path
            assert status_code(said) != 500, path


@pytest.mark.usefixtures("hurried")
async def test_a_dripping_body_holds_no_connection_on_any_route(urls_here: Urls) -> None:
    async with serving(urls_here) as (app, port):
        dripping = [
            exchange_bytes(port, request_head("POST", path, JSON, *lines), lambda: b"1\r\nx\r\n", pause=0.05)
            for path in paths_of(app)
            for lines in (["transfer-encoding: chunked"], ["content-length: 100000"])
        ]
        answers = await asyncio.gather(*dripping)
    assert {status_code(said) for said, _ in answers} & {408, 404, 405} == {408, 404, 405}
    assert all(said for said, _ in answers)


@pytest.mark.usefixtures("hurried")
@pytest.mark.parametrize("first", [b"", b"G", b"POST /graphql HTTP/1.1\r\nhost: x\r\n"])
async def test_a_request_that_never_quite_begins_is_hung_up_on(port: int, first: bytes) -> None:
    said, _ = await exchange_bytes(port, first, (lambda: b"a: b\r\n") if len(first) > 1 else None, pause=0.02)
    assert said == b""


@pytest.mark.usefixtures("hurried")
async def test_a_second_request_that_never_quite_begins_is_hung_up_on_too(port: int) -> None:
    said, _ = await exchange_bytes(
        port, request_head("GET", "/health/live") + b"GET /health", (lambda: b"x"), pause=0.02
    )
    assert (status_code(said), said.count(b"HTTP/1.1 ")) == (200, 1)


@pytest.mark.usefixtures("hurried")
async def test_patience_ends_with_the_head_of_a_request(port: int) -> None:
    body = json.dumps({"query": "{ __typename }"})
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for pause in (0.0, 0.4):
        await asyncio.sleep(pause)
        writer.write(request_head("POST", "/graphql", JSON, f"content-length: {len(body)}") + body.encode())
        async with asyncio.timeout(5):
            assert (await reader.readuntil(b"\r\n")).endswith(b"200 OK\r\n")
            while await reader.readline() != b"\r\n":
                pass
            assert b"Query" in await reader.readuntil(b"}}")
    writer.close()


@pytest.mark.parametrize(
    "lines",
    [
        ["x: " + "y" * 40_000],
        [f"x-{number}: y" for number in range(101)],
        [f"x{number}:" for number in range(5_000)],
    ],
)
async def test_a_head_that_is_larger_than_any_client_needs_is_refused(port: int, lines: list[str]) -> None:
    said, _ = await exchange_bytes(port, request_head("GET", "/health/live", "connection: close", *lines))
    assert status_code(said) in (400, 431)


@pytest.mark.parametrize(
    "first",
    [
        b"GET /health/live?",
        request_head("GET", "/health/live")[:-2] + b"x: ",
        request_head("POST", "/graphql", JSON, "transfer-encoding: chunked") + b"2\r\n{}\r\n0\r\nx: ",
        request_head("POST", "/graphql", JSON, "transfer-encoding: chunked") + b"2;x=",
    ],
)
async def test_what_has_no_end_beside_a_body_is_not_kept(port: int, first: bytes) -> None:
    said, sent = await exchange_bytes(port, first, lambda: b"y" * 16_384)
    assert sent < SEND_LIMIT
    assert status_code(said) in (0, 200, 400)


@pytest.mark.usefixtures("hurried")
async def test_blank_lines_hold_no_connection(port: int) -> None:
    said, _ = await exchange_bytes(port, request_head("GET", "/health/live") + b"\r\n", lambda: b"\r\n", pause=0.02)
    assert said.count(b"HTTP/1.1 ") == 1


@pytest.mark.usefixtures("hurried")
async def test_a_socket_outlives_the_patience_for_heads(port: int) -> None:
    async with connect(f"ws://127.0.0.1:{port}/graphql", subprotocols=["graphql-transport-ws"]) as one:  # type: ignore[list-item]
        await one.send(json.dumps({"type": "connection_init", "payload": GOOD_TOKEN}))
        assert json.loads(await one.recv())["type"] == "connection_ack"
        await asyncio.sleep(0.5)
        await one.send(json.dumps({"type": "ping"}))
        assert json.loads(await one.recv())["type"] == "pong"


async def test_a_length_beside_chunks_is_no_request(port: int) -> None:
    """A proxy may use the one and we the other: the rest would be another caller's request."""
    both = request_head("POST", "/graphql", JSON, "content-length: 4", "transfer-encoding: chunked") + b"0\r\n\r\n"
    said, _ = await exchange_bytes(port, both + request_head("GET", "/health/live"))
    assert (status_code(said), said.count(b"HTTP/1.1 ")) == (400, 1)


@pytest.mark.parametrize("path", ["/graphql", "/webhooks/twilio?ref=x"])
async def test_a_client_that_sends_far_too_much_can_still_read_why_it_was_refused(port: int, path: str) -> None:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as http:
        answer = await http.post(path, content=b"x" * 10_000_000, headers={"content-type": "application/json"})
    assert (answer.status_code, answer.headers["connection"]) == (413, "close")


async def test_an_answer_before_the_body_keeps_the_connection_of_a_client_that_has_sent_it(port: int) -> None:
    """A small body is taken in, so that refusing costs a client with a stale token no connection."""
    body = json.dumps({"query": "{ __typename }"}).encode()
    stale = request_head(
        "POST", "/graphql", JSON, f"authorization: {BAD_TOKEN['authorization']}", f"content-length: {len(body)}"
    )
    good = request_head("POST", "/graphql", JSON, "connection: close", f"content-length: {len(body)}")
    said, _ = await exchange_bytes(port, stale + body + good + body)
    assert (status_code(said), said.count(b"HTTP/1.1 "), b"200 OK" in said) == (401, 2, True)


async def test_handshakes_of_sockets_pay_like_requests_and_then_few_may_show_credentials_at_a_time(
    urls_here: Urls,
) -> None:
    async with serving(urls_here, ADDRESS_BUDGET="30") as (_, port), AsyncExitStack() as stack:

        async def opened() -> Any:
            opening = connect(f"ws://127.0.0.1:{port}/graphql", subprotocols=["graphql-transport-ws"])  # type: ignore[list-item]
            return await stack.enter_async_context(opening)

        async def closed(**payload: str) -> int | None:
            one = await opened()
            await one.send(json.dumps({"type": "connection_init", "payload": payload}))
            await one.wait_closed()
            return one.close_code

        # Eleven each: three bad ones use up the budget, and then a caller without credentials is asked to retry.
        assert [await closed(authorization="Bearer x") for _ in range(5)] == [4403] * 5
        assert await closed() == 1013
        # One socket more than may be silent at a time displaces the first.
        silent = [await opened() for _ in range(MOST_ON_CREDIT + 1)]
        await silent[0].wait_closed()
        assert silent[0].close_code == 1013
        assert await asked_over_a_socket(port, GOOD_TOKEN, 1) == (1, None)


async def asked_over_a_socket(port: int, payload: dict[str, str], most: int) -> tuple[int, int | None]:
    """How many operations one socket was answered, up to so many, and the code it was closed with, if it was."""
    ask = json.dumps({"type": "subscribe", "id": "1", "payload": {"query": "{ viewer { scopes } }"}})
    async with connect(f"ws://127.0.0.1:{port}/graphql", subprotocols=["graphql-transport-ws"]) as one:  # type: ignore[list-item]
        await one.send(json.dumps({"type": "connection_init", "payload": payload}))
        assert json.loads(await one.recv())["type"] == "connection_ack"
        answered = 0
        try:
            while answered < most:
                await one.send(ask)
                while json.loads(await one.recv())["type"] != "complete":
                    pass
                answered += 1
        except ConnectionClosed:
            return answered, one.close_code
        return answered, None


async def test_on_an_anonymous_socket_each_operation_costs_as_much_as_a_request(urls_here: Urls) -> None:
    async with serving(urls_here, ADDRESS_BUDGET="30") as (_, port):
        assert await asked_over_a_socket(port, GOOD_TOKEN, 60) == (60, None)
        answered, code = await asked_over_a_socket(port, {}, 60)
        assert 29 <= answered <= 31
        assert code == 1013


async def test_many_addresses_of_one_ipv6_prefix_share_the_limit_of_sockets(urls_here: Urls) -> None:
    async def acknowledged(port: int, address: str, stack: AsyncExitStack) -> bool:
        opening = connect(
            f"ws://127.0.0.1:{port}/graphql",
            subprotocols=["graphql-transport-ws"],  # type: ignore[list-item]
            additional_headers={"x-forwarded-for": address},
        )
        one = await stack.enter_async_context(opening)
        await one.send(json.dumps({"type": "connection_init"}))
        try:
            return bool(json.loads(await one.recv())["type"] == "connection_ack")
        except ConnectionClosed:
            return False

    changes = {"TRUSTED_PROXIES": "127.0.0.1", "SOCKETS_PER_CALLER": "2"}
    async with serving(urls_here, **changes) as (_, port), AsyncExitStack() as stack:
        addresses = ("2001:db8::1", "2001:db8::2", "2001:db8::3", "2001:db8:0:1::1")
        assert [await acknowledged(port, one, stack) for one in addresses] == [True, True, False, True]


async def test_a_socket_with_more_headers_than_any_client_needs_is_refused(port: int) -> None:
    with pytest.raises(InvalidStatus) as refused:
        async with connect(f"ws://127.0.0.1:{port}/graphql", additional_headers=[(f"x-{n}", "1") for n in range(101)]):
            pass
    assert refused.value.response.status_code == 431
