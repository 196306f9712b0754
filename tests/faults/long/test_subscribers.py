"""F21 and F22: many follow, some never read, and Valkey restarts meanwhile: everybody who reads misses nothing."""

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
DEAF = int(os.environ.get("FAULT_DEAF") or 5)
RESTARTS = 3
GROWTH = 50 * 1024 * 1024


@dataclass
class Follower:
    """A subscription; `seen` holds every status it was told, by message."""

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
async def following(city: SystemUnderTest) -> AsyncIterator[Follower]:
    url = city.base.replace("http", "ws") + "/graphql"
    payload = {"Authorization": f"Bearer {city.token(city.tenants[0])}"}
    # The protocol's own pings would be answered by the library even where nobody reads.
    async with connect(url, subprotocols=["graphql-transport-ws"], max_queue=4, ping_interval=None) as socket:  # type: ignore[list-item]
        await socket.send(json.dumps({"type": "connection_init", "payload": payload}))
        assert json.loads(await socket.recv())["type"] == "connection_ack"
        asking = {"query": WATCH, "variables": {"ids": None}}
        await socket.send(json.dumps({"id": "1", "type": "subscribe", "payload": asking}))
        yield Follower(socket)


async def test_whoever_reads_misses_nothing_while_valkey_restarts(tmp_path: Path) -> None:
    async with system_under_test(tmp_path, Plan(workers=1)) as city, AsyncExitStack() as stack:
        traffic = sms_traffic(city, "followers")
        readers = [await stack.enter_async_context(following(city)) for _ in range(READERS)]
        for _ in range(DEAF):
            await stack.enter_async_context(following(city))
        reading = [asyncio.create_task(reader.read()) for reader in readers]
        before = memory(city.api.pid)
        chance, sent = Random(1), 0
        for _ in range(RESTARTS):
            await send(traffic, 10)
            await city.cellar.valkey.kill()
            await send(traffic, 5)
            await asyncio.sleep(chance.uniform(0.5, 2))
            await city.cellar.valkey.start()
            await send(traffic, 5)
            sent += 20
        await until(lambda: slowest(readers), lambda seen: seen == sent, 40)
        assert memory(city.api.pid) - before < GROWTH
        for reader in readers:
            for statuses in reader.seen.values():
                assert statuses == sorted(statuses, key=RANKS.index), statuses
                assert len(statuses) == len(set(statuses)), f"told twice: {statuses}"
        assert {uuid_of(one, "Message") for one in readers[0].seen} == {acked.message_id for acked in traffic.acked}
        for task in reading:
            task.cancel()
        await settle_and_check(city, traffic, seed=traffic.seed)


RANKS = ["QUEUED", "SENDING", "UNCONFIRMED", "SENT", "DELIVERED"]


async def slowest(readers: list[Follower]) -> int:
    return min(reader.delivered() for reader in readers)


def memory(pid: int) -> int:
    """Bytes a process holds."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
