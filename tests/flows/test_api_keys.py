"""An API key: created in a terminal, used over HTTP, a socket and a stream, then revoked."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import asyncpg
import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from tests.running_system import WATCH, System, command

pytestmark = pytest.mark.slow

WITHIN = 10
"""Seconds within which all connections of a revoked key must end; usually about four."""


async def interalpha(system: System, *arguments: str) -> str:
    """Run a command with the server's settings; return its output."""
    child = await asyncio.create_subprocess_exec(
        *command(*arguments),
        env=system.environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, errors = await asyncio.wait_for(child.communicate(), 30)
    assert child.returncode == 0, errors.decode()
    return out.decode().strip()


async def new_key(system: System, *options: str) -> tuple[str, System]:
    """Create a key in a terminal; return it and the system used with it."""
    secret = await interalpha(system, "api-keys", "create", "--name", "loja", "--scope", "all", *options)
    assert secret.startswith("ia_")
    return secret, replace(system, token=secret)


@asynccontextmanager
async def client_of(system: System) -> AsyncIterator[System]:
    """The same system with a client that uses its own token."""
    headers = {"authorization": f"Bearer {system.token}"}
    async with httpx.AsyncClient(base_url=system.base, headers=headers, timeout=10) as http:
        yield replace(system, http=http)


async def test_a_test_key_sends_and_subscribes_until_it_is_revoked(system: System, phone: str) -> None:
    secret, server = await new_key(system, "--kind", "test")
    async with client_of(server) as mine, mine.watch() as watch, stream(mine) as lines:
        message_id = await mine.sms(phone)
        await mine.comes_to(message_id, "DELIVERED")
        assert await system.copies(phone) == 1
        change = await watch.next()
        assert change["message"]["id"]
        assert await anext(lines)
        await interalpha(system, "api-keys", "revoke", secret[:20], "--yes")
        assert await ends(watch.socket) == 4403
        async with asyncio.timeout(WITHIN):
            rest = [line async for line in lines]
        # The stream is cut off without `complete`, which would mean that all was sent.
        assert "event: complete" not in rest
        refused = await mine.http.post("/graphql", json={"query": "{ viewer { scopes } }"})
        assert (refused.status_code, refused.json()["errors"][0]["message"]) == (401, "This API key was revoked.")
    listed = await interalpha(system, "api-keys", "list", "--json")
    assert secret not in listed
    [shown] = [one for one in json.loads(listed) if secret.startswith(one["prefix"])]
    assert shown["revokedAt"]
    assert shown["lastUsedAt"]


async def test_a_key_with_an_allow_list_sends_to_its_recipients_only(system: System, phone: str) -> None:
    _, server = await new_key(system, "--kind", "allow-list", "--recipient", phone)
    async with client_of(server) as mine:
        await mine.comes_to(await mine.sms(phone), "DELIVERED")
        given = {"to": {"phone": "+5511987654321"}, "content": {"text": "Oi"}, "route": [{"channel": "SMS"}]}
        query = "mutation ($input: SendMessageInput!) { sendMessage(input: $input) { errors { __typename } } }"
        assert (await mine.ask(query, input=given))["sendMessage"]["errors"] == [{"__typename": "InvalidInputError"}]


@pytest.mark.parametrize("token", ["ia_live_nonsense", "ia_test_"])
async def test_a_socket_is_refused_with_an_invalid_key(system: System, token: str) -> None:
    url = system.base.replace("http", "ws") + "/graphql"
    async with connect(url, subprotocols=["graphql-transport-ws"]) as socket:  # type: ignore[list-item]
        await socket.send(json.dumps({"type": "connection_init", "payload": {"Authorization": f"Bearer {token}"}}))
        assert await ends(socket) == 4403


async def test_an_expired_key_ends_its_open_connections(system: System) -> None:
    secret, server = await new_key(system, "--expires-in", "1m")
    async with client_of(server) as mine, mine.watch() as watch:
        owner = await asyncpg.connect(system.urls.direct)
        await owner.execute("UPDATE api_keys SET expires_at = now() WHERE public_id = $1", secret[8:20])
        await owner.close()
        assert await ends(watch.socket) == 4403


@asynccontextmanager
async def stream(system: System) -> AsyncIterator[Any]:
    """Return the lines of a subscription over Server-Sent Events."""
    body = {"query": WATCH, "variables": {"ids": None}}
    headers = {"accept": "text/event-stream"}
    async with system.http.stream("POST", "/graphql", json=body, headers=headers, timeout=None) as answer:
        assert answer.status_code == 200
        yield answer.aiter_lines()


async def ends(socket: Any) -> int:
    """Wait until a socket is closed; return its close code."""
    try:
        async with asyncio.timeout(WITHIN):
            while True:
                await socket.recv()
    except ConnectionClosed:
        return int(socket.close_code)
