"""A subscription over real sockets while the socket drops and Valkey is away: no change is missed."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import connect

from devkit.embedded.stores import Stores
from tests.databases import SharedStores
from tests.running_system import Subscription, System, running_system

FOLLOW = """
subscription ($ids: [ID!], $after: String) {
  messageStatusChanged(filter: {ids: $ids}, after: $after) {
    cursor hasGap previousStatus event { id status } message { id }
  }
}
"""
Changes = list[dict[str, Any]]


@asynccontextmanager
async def subscribed(system: System, **variables: Any) -> AsyncIterator[Subscription]:
    """Subscribe over a new socket."""
    url = system.base.replace("http", "ws") + "/graphql"
    async with connect(url, subprotocols=["graphql-transport-ws"]) as socket:  # type: ignore[list-item]
        authorization = {"Authorization": f"Bearer {system.token}"}
        await socket.send(json.dumps({"type": "connection_init", "payload": authorization}))
        assert json.loads(await socket.recv())["type"] == "connection_ack"
        payload = {"query": FOLLOW, "variables": variables}
        await socket.send(json.dumps({"id": "1", "type": "subscribe", "payload": payload}))
        yield Subscription(socket)


async def changes_until(watch: Subscription, message: str, status: str) -> Changes:
    found: Changes = []
    while not found or (found[-1]["message"]["id"], found[-1]["event"]["status"]) != (message, status):
        found.append(await watch.next())
    return found


@pytest.mark.slow
async def test_a_subscriber_misses_nothing_while_the_socket_drops_and_valkey_restarts(
    stores: SharedStores, tmp_path: Path
) -> None:
    hints = Stores(tmp_path / "hints", postgres=False, durable=False)
    redis = (await hints.start()).redis
    try:
        async with running_system(stores, tmp_path, is_calm=False, REDIS_URL=redis) as system:
            opening = await system.sms("+5511987000001")
            await system.comes_to(opening, "DELIVERED")
            async with subscribed(system, ids=[opening]) as watch:
                cursor = (await watch.next())["cursor"]
            first = await system.sms("+5511987000002")
            async with subscribed(system, after=cursor) as watch:
                changes = [await watch.next(), await watch.next()]
            await hints.stop()
            second = await system.sms("+5511987000003")
            await system.comes_to(second, "DELIVERED", 40)
            assert (await hints.start()).redis == redis
            async with subscribed(system, after=changes[-1]["cursor"]) as watch:
                changes += await changes_until(watch, second, "DELIVERED")
                third = await system.sms("+5511987000004")
                changes += await changes_until(watch, third, "DELIVERED")
            for message in (first, second, third):
                statuses = [one["event"]["status"] for one in changes if one["message"]["id"] == message]
                assert statuses == await system.changes(message)
            ids = [one["event"]["id"] for one in changes]
            assert len(set(ids)) == len(ids)
            assert not any(one["hasGap"] for one in changes)
    finally:
        await hints.stop()
