"""SIGTERM under load: a process takes nothing new, finishes its work and leaves nothing claimed."""

import asyncio
import json
import os
from pathlib import Path

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from tests.faults.runs import settle_and_check
from tests.faults.steps import sms_traffic
from tests.faults.system import Plan, SystemUnderTest, system_under_test
from tests.helpers import until
from tests.running_system import WATCH

ROUNDS = int(os.environ.get("FAULT_ROUNDS") or 5)
LIMIT = 25.0
LEFT = "SELECT count(*) FROM messages WHERE lease_owner = $1 AND lease_until IS NOT NULL"


async def test_a_worker_that_shuts_down_under_load_leaves_nothing_claimed(tmp_path: Path) -> None:
    async with system_under_test(tmp_path, Plan(workers=2)) as system:
        traffic = sms_traffic(system, "workers shut down")
        await system.control.arm("twilio", "slow", every=2, seconds=1)
        async with traffic.running_clients(6):
            for number in range(ROUNDS * 2):
                worker = system.workers[number % 2]
                await asyncio.sleep(1.5)
                code, seconds = await worker.end()
                assert code == 0
                assert seconds < LIMIT
                [left] = await system.stores.fetch(LEFT, worker.worker_name)
                assert left[0] == 0, f"{left[0]} messages are still claimed"
                await worker.start()
        evidence = await settle_and_check(system, traffic, seed=traffic.seed)
        assert not any(one["status"] == "UNCONFIRMED" for events in evidence.events.values() for one in events)


async def test_an_api_that_shuts_down_under_load_finishes_its_requests(tmp_path: Path) -> None:
    async with system_under_test(tmp_path, Plan(workers=1)) as system:
        traffic = sms_traffic(system, "API shuts down")
        async with traffic.running_clients(6):
            for _ in range(ROUNDS):
                # A process that is still starting handles no signals yet.
                await until(system.is_ready, bool, 60)
                watching = asyncio.create_task(watch_until_closed(system))
                await asyncio.sleep(1.5)
                code, seconds = await system.api.end()
                assert code == 0
                assert seconds < LIMIT
                async with asyncio.timeout(5):
                    await watching
                await system.api.start()
        await settle_and_check(system, traffic, seed=traffic.seed)
        assert "Traceback" not in system.api.log.read_text()


async def watch_until_closed(system: SystemUnderTest) -> None:
    """Hold a subscription open until the server ends it."""
    url = system.base.replace("http", "ws") + "/graphql"
    token = system.token(system.tenants[0])
    while True:
        try:
            async with connect(url, subprotocols=["graphql-transport-ws"]) as socket:  # type: ignore[list-item]
                payload = {"Authorization": f"Bearer {token}"}
                await socket.send(json.dumps({"type": "connection_init", "payload": payload}))
                await socket.recv()
                asking = {"query": WATCH, "variables": {"ids": None}}
                await socket.send(json.dumps({"id": "1", "type": "subscribe", "payload": asking}))
                async for _ in socket:
                    pass
                return
        except ConnectionClosed:
            return
        except (OSError, EOFError, InvalidHandshake):
            # The API has not started yet.
            await asyncio.sleep(0.1)
