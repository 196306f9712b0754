"""A thousand subscribers connect, receive a change and vanish: the server keeps nothing of them."""

import asyncio
import json
import resource
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect

from tests.databases import SharedStores
from tests.helpers import until
from tests.running_system import System, running_system

SUBSCRIBERS = 1_000
STREAMS = 50
ROUNDS = 3
AT_ONCE = 50
# Memory that the allocator keeps between rounds although nothing leaks.
SLACK_MEGABYTES = 24
PATIENCE = 60
WATCH = "subscription { messageStatusChanged { event { status } message { id } } }"


@pytest.fixture
async def system(stores: SharedStores, tmp_path: Path) -> AsyncIterator[System]:
    """A system without a limit of sockets for each caller; its log is checked at the end."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, 16_384), most))
    without_limit = {"SOCKETS_PER_CALLER": str(2 * SUBSCRIBERS), "CALLER_BUDGET": "1000000000"}
    async with running_system(stores, tmp_path, **without_limit) as running:
        yield running


async def gauges(system: System) -> dict[str, float]:
    """Read the gauges of the server."""
    text = (await system.http.get("/metrics")).text
    pairs = (line.rsplit(" ", 1) for line in text.splitlines() if line and not line.startswith("#"))
    return {name: float(value) for name, value in pairs}


async def held(system: System) -> tuple[float, float, float]:
    """Count the sockets, and the operations on sockets and on streams."""
    found = await gauges(system)
    operations = "interalpha_live_operations"
    return (
        found["interalpha_sockets"],
        found.get(f'{operations}{{protocol="socket"}}', 0),
        found.get(f'{operations}{{protocol="sse"}}', 0),
    )


def megabytes(system: System) -> float:
    """Return the memory of the server in megabytes."""
    assert system.api.process is not None
    status = Path(f"/proc/{system.api.process.pid}/status").read_text()
    return next(int(line.split()[1]) / 1_024 for line in status.splitlines() if line.startswith("VmRSS:"))


async def subscribe(system: System, turn: asyncio.Semaphore) -> ClientConnection:
    url = system.base.replace("http", "ws") + "/graphql"
    async with turn:
        socket = await connect(url, subprotocols=["graphql-transport-ws"], compression=None, ping_interval=None)  # type: ignore[list-item]
        payload = {"Authorization": f"Bearer {system.token}"}
        await socket.send(json.dumps({"type": "connection_init", "payload": payload}))
        assert json.loads(await socket.recv())["type"] == "connection_ack"
        await socket.send(json.dumps({"id": "1", "type": "subscribe", "payload": {"query": WATCH}}))
    return socket


async def listen(system: System, began: asyncio.Event) -> None:
    """Subscribe over Server-Sent Events until canceled."""
    headers = {"accept": "text/event-stream"}
    limits = httpx.Limits(max_connections=None)
    async with (
        httpx.AsyncClient(headers={**system.http.headers, **headers}, limits=limits, timeout=PATIENCE) as http,
        http.stream("POST", f"{system.base}/graphql", json={"query": WATCH}) as answer,
    ):
        began.set()
        async for _ in answer.aiter_bytes():
            pass


async def one_round(system: System, phone: str) -> None:
    """Connect, receive a change and vanish, half of the subscribers while a change is being sent."""
    turn = asyncio.Semaphore(AT_ONCE)
    sockets = await asyncio.gather(*(subscribe(system, turn) for _ in range(SUBSCRIBERS)))
    began = [asyncio.Event() for _ in range(STREAMS)]
    streams = [asyncio.create_task(listen(system, one)) for one in began]
    all_connected = (SUBSCRIBERS, SUBSCRIBERS, STREAMS)
    await until(lambda: held(system), lambda found: found == all_connected, PATIENCE)
    first = await system.sms(phone)
    for socket in sockets:
        received = json.loads(await asyncio.wait_for(socket.recv(), PATIENCE))
        assert received["payload"]["data"]["messageStatusChanged"]["message"]["id"] == first
    for socket in sockets[::2]:
        socket.transport.abort()
    second = await system.sms(phone)
    for socket in sockets[1::2]:
        socket.transport.abort()
    for stream in streams:
        stream.cancel()
    await asyncio.gather(*streams, return_exceptions=True)
    # The next round must receive its own messages only.
    await system.comes_to(second, "DELIVERED", PATIENCE)


async def test_a_thousand_subscribers_that_vanish_leave_nothing_behind(system: System) -> None:
    await system.comes_to(await system.sms("+5511987000001"), "DELIVERED")
    tasks_before = (await gauges(system))["interalpha_tasks"]
    sizes = []
    for number in range(ROUNDS):
        await one_round(system, f"+55119870001{number:02}")
        await until(lambda: held(system), lambda found: found == (0, 0, 0), PATIENCE)
        # The tasks of the request that reads the gauges are counted too, before and after.
        await until(lambda: gauges(system), lambda found: found["interalpha_tasks"] <= tasks_before, PATIENCE)
        sizes.append(megabytes(system))
    assert sizes[-1] - sizes[0] < SLACK_MEGABYTES, sizes
