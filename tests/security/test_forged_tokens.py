"""Every forgery of the table, sent to a running server in a header, in a cookie and over a socket: one answer.

Each is tried on the verifier alone in tests/providers/test_clerk_tokens.py.
"""

import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from core.access.sessions import DevelopmentTokens
from core.ports import TokenFault
from integrations.clerk.session_tokens import invalid_token
from tests.databases import SharedStores, Urls
from tests.edge.factories import CLERK_SETTINGS
from tests.providers.clerk_tokens import FORGED_TOKENS, claims, token
from tests.security.raw_http import exchange_bytes, request_head, serving, socket_close_code, status_code

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
MADE: dict[str, Callable[[], str]] = {**{kind: make for kind, (make, _) in FORGED_TOKENS.items()}, **DEVELOPMENT}
# What cannot stand in a header: a client library would not send it, and the server ends the request.
NO_HEADER = {"a line break", "NUL at the end", "ten million dots", "empty"}
NO_FRAME = {"ten million dots", "empty"}


@pytest.fixture(scope="module")
async def urls_here(stores: SharedStores) -> AsyncIterator[Urls]:
    async with stores.database() as urls:
        yield urls


@pytest.fixture(scope="module")
async def port(urls_here: Urls) -> AsyncIterator[int]:
    async with serving(urls_here, **CLERK_SETTINGS) as (_, port):
        yield port


BODY = json.dumps({"query": "{ viewer { organization { name } } }"}).encode()


async def asked(port: int, line: bytes) -> tuple[int, dict[str, str], bytes]:
    start = request_head("POST", "/graphql", "content-type: application/json", f"content-length: {len(BODY)}")
    said, _ = await exchange_bytes(port, start[:-2] + line + b"\r\nconnection: close\r\n\r\n" + BODY)
    top, _, body = said.partition(b"\r\n\r\n")
    lines = [one.split(b": ", 1) for one in top.split(b"\r\n")[1:]]
    return status_code(said), {name.decode().lower(): value.decode() for name, value in lines}, body


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
    assert await socket_close_code(port, token(claims())) == 0


async def test_a_forged_token_is_refused_in_a_header_and_in_a_cookie(subtests: pytest.Subtests, port: int) -> None:
    for kind in MADE:
        with subtests.test(kind):
            forged = MADE[kind]()
            for line in ("authorization: Bearer ", "cookie: a=b; __session="):
                answer = await asked(port, (line + forged).encode()[:100_000])
                if kind in NO_HEADER:
                    # An empty one counts as none: the caller is anonymous.
                    assert answer[0] in (400, 401, 431) or (kind == "empty" and b'"viewer":null' in answer[2]), answer
                else:
                    refused(answer, forged)


IN_A_FRAME = [kind for kind in MADE if kind not in NO_FRAME]


async def test_a_forged_token_opens_no_socket(subtests: pytest.Subtests, port: int) -> None:
    for kind in IN_A_FRAME:
        with subtests.test(kind):
            assert await socket_close_code(port, MADE[kind]()) == 4403


def test_an_unsigned_caller_learns_nothing_about_our_keys() -> None:
    """An unknown key, a wrong signature, another issuer: in the same words."""
    alike = (TokenFault.UNKNOWN_KEY, TokenFault.SIGNATURE, TokenFault.ISSUER, TokenFault.HEADER)
    assert len({invalid_token(fault).message for fault in alike}) == 1
