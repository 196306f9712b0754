"""Every forgery of the table, sent to a running server in a header, in a cookie and over a socket: one outer answer.

Each is tried on the verifier alone in tests/providers/test_clerk_tokens.py, where the table stands.
"""

import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosedError

from core.access.tokens import DevelopmentTokens
from core.ports import TokenFault
from integrations.clerk.session_tokens import invalid_token
from tests.conftest import Running, Urls
from tests.edge.test_sessions import VERIFIED
from tests.providers.clerk_tokens import claims, token
from tests.providers.test_clerk_tokens import FORGED
from tests.security.wire import head, serving, status, talk

OURS = DevelopmentTokens(b"k" * 32)


def changed(text: str, old: str, new: str) -> str:
    assert old in text
    return text.replace(old, new)


# Development tokens, which tests/unit/test_tokens.py looks at more closely.
DEVELOPMENT: dict[str, Callable[[], str]] = {
    "a development token of another installation": lambda: DevelopmentTokens(b"x" * 32).make(),
    "a development token that has expired": lambda: OURS.make(lifetime=-1),
    "a development token without its signature": lambda: OURS.make().rpartition(".")[0],
    "a development token with an empty signature": lambda: OURS.make().rpartition(".")[0] + ".",
    "a development token of another body": lambda: changed(OURS.make(), "iadev_ey", "iadev_ex"),
    "the prefix of a development token": lambda: "iadev_",
    "the prefix before a session": lambda: "iadev_" + token(claims()),
}
MADE: dict[str, Callable[[], str]] = {**{kind: make for kind, (make, _) in FORGED.items()}, **DEVELOPMENT}
# What cannot stand in a header: a client library would not send it, and the server ends the request.
NO_HEADER = {"a line break", "NUL at the end", "ten million dots", "empty"}
NO_FRAME = {"ten million dots", "empty"}


@pytest.fixture(scope="module")
async def urls_here(stores: Running) -> AsyncIterator[Urls]:
    async with stores.database() as urls:
        yield urls


@pytest.fixture(scope="module")
async def port(urls_here: Urls) -> AsyncIterator[int]:
    async with serving(urls_here, **VERIFIED) as (_, port):
        yield port


BODY = json.dumps({"query": "{ viewer { organization { name } } }"}).encode()


async def asked(port: int, line: bytes) -> tuple[int, dict[str, str], bytes]:
    start = head("POST", "/graphql", "content-type: application/json", f"content-length: {len(BODY)}")
    said, _ = await talk(port, start[:-2] + line + b"\r\nconnection: close\r\n\r\n" + BODY)
    top, _, body = said.partition(b"\r\n\r\n")
    lines = [one.split(b": ", 1) for one in top.split(b"\r\n")[1:]]
    return status(said), {name.decode().lower(): value.decode() for name, value in lines}, body


def refused(answer: tuple[int, dict[str, str], bytes], forged: str) -> None:
    code, headers, body = answer
    assert (code, headers["www-authenticate"], headers["cache-control"]) == (401, "Bearer", "no-store"), body
    told: dict[str, Any] = json.loads(body)
    assert told.keys() == {"errors"}
    [error] = told["errors"]
    assert error.keys() == {"message", "extensions"}
    assert error["extensions"].keys() <= {"code", "reason", "requestId", "advice", "docs"}
    assert error["extensions"]["code"] == "UNAUTHENTICATED"
    said = f"{headers} {body.decode()}"
    assert [part for part in forged.split(".") if len(part) > 8 and part in said] == []


def test_the_table_is_long_enough() -> None:
    assert len(MADE) >= 40
    assert MADE.keys() >= NO_HEADER | NO_FRAME


async def test_what_is_forged_below_is_let_in_when_it_is_not(port: int) -> None:
    code, _, body = await asked(port, b"authorization: Bearer " + token(claims()).encode())
    assert (code, json.loads(body)["data"]["viewer"]["organization"]["name"]) == (200, "org_2abcACME")
    assert (await asked(port, b"cookie: __session=" + token(claims()).encode()))[0] == 200
    assert await closed_with(port, token(claims())) == 0


@pytest.mark.parametrize("kind", MADE)
async def test_a_forged_token_is_refused_in_a_header_and_in_a_cookie(port: int, kind: str) -> None:
    forged = MADE[kind]()
    for line in ("authorization: Bearer ", "cookie: a=b; __session="):
        answer = await asked(port, (line + forged).encode()[:100_000])
        if kind in NO_HEADER:
            # An empty one is none: nobody is let in as nobody.
            assert answer[0] in (400, 401, 431) or (kind == "empty" and b'"viewer":null' in answer[2]), answer
        else:
            refused(answer, forged)


async def closed_with(port: int, forged: str) -> int:
    """The code a socket is closed with; 0 where it was acknowledged."""
    async with connect(f"ws://127.0.0.1:{port}/graphql", subprotocols=["graphql-transport-ws"]) as socket:  # type: ignore[list-item]
        payload = {"authorization": f"Bearer {forged}"}
        await socket.send(json.dumps({"type": "connection_init", "payload": payload}))
        try:
            assert json.loads(await socket.recv())["type"] == "connection_ack"
        except ConnectionClosedError:
            assert forged not in str(socket.close_reason)
            return socket.close_code or 1006
        return 0


@pytest.mark.parametrize("kind", [kind for kind in MADE if kind not in NO_FRAME])
async def test_a_forged_token_opens_no_socket(port: int, kind: str) -> None:
    assert await closed_with(port, MADE[kind]()) == 4403


def test_who_cannot_sign_is_told_nothing_of_our_keys() -> None:
    """An unknown key, a wrong signature, another issuer: in the same words."""
    alike = (TokenFault.UNKNOWN_KEY, TokenFault.SIGNATURE, TokenFault.ISSUER, TokenFault.HEADER)
    assert len({invalid_token(fault).message for fault in alike}) == 1
