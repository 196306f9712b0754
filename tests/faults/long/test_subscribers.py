"""Valkey restarts while many subscribers read and some never do: those that read miss nothing."""

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from websockets.asyncio.client import connect

from resolvers.global_ids import uuid_of
from tests.faults.runs import settle_and_check
from tests.faults.steps import send, sms_traffic
from tests.faults.system import Plan, SystemUnderTest, system_under_test
from tests.helpers import until
from tests.running_system import WATCH

READERS = int(os.environ.get("FAULT_READERS") or 20)
NOT_READING = int(os.environ.get("FAULT_NOT_READING") or 5)
RESTARTS = 3
GROWTH = 50 * 1024 * 1024


@dataclass
class Subscriber:
    """A subscription; `seen` holds every status it received, by message."""

    socket: Any
    seen: dict[str, list[str]] = field(default_factory=dict)

    async def read(self) -> None:
        async for frame in self.socket:
            data = json.loads(frame)
            if data["type"] == "next":
                change = data["payload"]["data"]["messageStatusChanged"]
                self.seen.setdefault(change["message"]["id"], []).append(change["event"]["status"])
            elif data["type"] == "ping":
                await self.socket.send(json.dumps({"type": "pong"}))

    def delivered(self) -> int:
        return sum("DELIVERED" in statuses for statuses in self.seen.values())


@asynccontextmanager
async def subscribed(system: SystemUnderTest) -> AsyncIterator[Subscriber]:
    url = system.base.replace("http", "ws") + "/graphql"
    payload = {"Authorization": f"Bearer {system.token(system.tenants[0])}"}
    # The library would answer pings of the protocol even where the test does not read.
    async with connect(url, subprotocols=["graphql-transport-ws"], max_queue=4, ping_interval=None) as socket:  # type: ignore[list-item]
        await socket.send(json.dumps({"type": "connection_init", "payload": payload}))
        assert json.loads(await socket.recv())["type"] == "connection_ack"
        asking = {"query": WATCH, "variables": {"ids": None}}
        await socket.send(json.dumps({"id": "1", "type": "subscribe", "payload": asking}))
        yield Subscriber(socket)


async def test_subscribers_miss_nothing_while_valkey_restarts(tmp_path: Path) -> None:
    async with system_under_test(tmp_path, Plan(workers=1)) as system, AsyncExitStack() as stack:
        traffic = sms_traffic(system, "subscribers")
        readers = [await stack.enter_async_context(subscribed(system)) for _ in range(READERS)]
        for _ in range(NOT_READING):
            await stack.enter_async_context(subscribed(system))
        reading = [asyncio.create_task(reader.read()) for reader in readers]
        before = memory(system.api.pid)
        chance, sent = Random(1), 0
        for _ in range(RESTARTS):
            await send(traffic, 10)
            await system.stores.valkey.kill()
            await send(traffic, 5)
            await asyncio.sleep(chance.uniform(0.5, 2))
            await system.stores.valkey.start()
            await send(traffic, 5)
            sent += 20
        await until(lambda: slowest(readers), lambda seen: seen == sent, 40)
        assert memory(system.api.pid) - before < GROWTH
        for reader in readers:
            for statuses in reader.seen.values():
                assert statuses == sorted(statuses, key=RANKS.index), statuses
                assert len(statuses) == len(set(statuses)), f"received twice: {statuses}"
        assert {uuid_of(one, "Message") for one in readers[0].seen} == {
            accepted.message_id for accepted in traffic.accepted
        }
        for task in reading:
            task.cancel()
        await settle_and_check(system, traffic, seed=traffic.seed)


RANKS = ["QUEUED", "SENDING", "UNCONFIRMED", "SENT", "DELIVERED"]


async def slowest(readers: list[Subscriber]) -> int:
    return min(reader.delivered() for reader in readers)


def memory(pid: int) -> int:
    """Return the memory of a process in bytes."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
