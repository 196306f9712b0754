"""How fast one change reaches everybody who follows: one API process, a durable PostgreSQL and a Valkey beside it.

    .venv/bin/python bench/subscribers.py [SUBSCRIBERS] [EVENTS]      # 1000 sockets, 20 events

Every socket runs the same subscription with a token of the same rights. A change is committed and hinted at as a
worker does it, and timed from its commit to the moment the last socket has its bytes; every frame is checked. The
client speaks over plain sockets in this process, so that it takes little of the machine it shares. Read ratios between
two runs of the same minute, not absolutes.
"""

import asyncio
import base64
import json
import os
import platform
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from uuid import UUID

import asyncpg
import httpx
from redis.asyncio import Redis

from core.ports.identity import DEFAULT_TENANT
from devkit.embedded.stores import Stores, StoreUrls

PROGRAM = [sys.executable, "-c", "from api.cli import main; main()"]
FEATURES = "authentication, tenant isolation, sealed columns, logging and metrics on; fsync on"
WATCH = """subscription { messageStatusChanged {
  previousStatus event { id status source detail at } message { id channel status toMasked createdAt }
} }"""
SEND = """mutation {
  sendMessage(input: {to: {phone: "+5511987654321"}, content: {text: "Olá"}, route: [{channel: SMS}]}) {
    message { id } errors { __typename }
  }
}"""
CHANGE = (
    "INSERT INTO message_events (tenant_id, message_id, status, previous_status, channel, source)"
    " VALUES ($1, $2, 'SENT', 'QUEUED', 'SMS', 'WORKER')"
)
AT_ONCE = 50


class Subscriber(asyncio.Protocol):
    """One socket that follows: how many changes it has, and when the last of them came."""

    def __init__(self, token: str) -> None:
        self.token = token
        self.heard = 0
        self.heard_at = 0.0
        self.is_open: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._seen = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.write(
            b"GET /graphql HTTP/1.1\r\nhost: bench\r\nupgrade: websocket\r\nconnection: upgrade\r\n"
            b"sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\nsec-websocket-version: 13\r\n"
            b"sec-websocket-protocol: graphql-transport-ws\r\n\r\n"
        )

    def write(self, raw: bytes) -> None:
        self.transport.write(raw)  # type: ignore[attr-defined]

    def say(self, message: dict[str, object]) -> None:
        """Send a frame, masked with zeros as the protocol allows."""
        text = json.dumps(message).encode()
        self.write(b"\x81" + bytes([0x80 | 126]) + len(text).to_bytes(2, "big") + bytes(4) + text)

    def data_received(self, data: bytes) -> None:
        if self.is_open.done():
            assert b'"errors"' not in data, data
            if found := data.count(b'"type":"next"'):
                self.heard += found
                self.heard_at = time.perf_counter()
            return
        self._seen += data
        if b"101 Switching" in self._seen and not self._seen.count(b"connection_init"):
            self._seen = b"connection_init"
            self.say({"type": "connection_init", "payload": {"Authorization": f"Bearer {self.token}"}})
        elif b"connection_ack" in self._seen:
            self.say({"id": "1", "type": "subscribe", "payload": {"query": WATCH}})
            self.is_open.set_result(None)


async def main() -> None:
    given = [int(one) for one in sys.argv[1:]]
    subscribers, events = (given or [1000])[0], (given[1:] or [20])[0]
    with tempfile.TemporaryDirectory() as folder:
        async with Stores(Path(folder) / "data") as urls:
            environment = surroundings(urls, subscribers)
            await asyncio.to_thread(subprocess.check_call, [*PROGRAM, "migrate", "up"], env=environment, cwd=folder)
            token = await asyncio.to_thread(
                subprocess.check_output, [*PROGRAM, "token"], env=environment, cwd=folder, text=True
            )
            port = free_port()
            server = await asyncio.create_subprocess_exec(
                *PROGRAM, "serve", "--port", str(port), env=environment, cwd=folder, stderr=asyncio.subprocess.DEVNULL
            )
            try:
                await until_open(port)
                await measure(port, server.pid, token.strip(), urls, subscribers, events)
            finally:
                server.kill()
                await server.wait()


async def measure(port: int, process: int, token: str, urls: StoreUrls, subscribers: int, events: int) -> None:
    print(f"{platform.machine()}, {os.cpu_count()} CPUs, Python {platform.python_version()}; {FEATURES}")
    message = await one_message(port, token)
    before = megabytes(process)
    start = time.perf_counter()
    everybody = await come(port, token, subscribers)
    database, redis = await asyncpg.connect(urls.direct), Redis.from_url(urls.redis)
    await until_all_follow(database, redis, message, everybody)
    print(f"{subscribers} sockets follow after {time.perf_counter() - start:.1f} s", end="")
    print(f", {(megabytes(process) - before) * 1024 / subscribers:.0f} kB each")
    spent = processor_seconds(process)
    times = [await one_event(database, redis, message, everybody) for _ in range(events)]
    spent = (processor_seconds(process) - spent) / events * 1000
    print(
        f"one event reached the last after {statistics.median(times) * 1000:.0f} ms"
        f" ({min(times) * 1000:.0f} to {max(times) * 1000:.0f}), {spent:.0f} ms of the API's processor each"
    )
    await database.close()
    await redis.aclose()


async def come(port: int, token: str, count: int) -> list[Subscriber]:
    turn = asyncio.Semaphore(AT_ONCE)

    async def one() -> Subscriber:
        async with turn:
            _, found = await asyncio.get_running_loop().create_connection(lambda: Subscriber(token), "127.0.0.1", port)
            await asyncio.wait_for(found.is_open, 60)
        return found

    return await asyncio.gather(*(one() for _ in range(count)))


async def until_all_follow(
    database: asyncpg.Connection, redis: Redis, message: UUID, everybody: list[Subscriber]
) -> None:
    """Let changes happen until each of them reaches everybody."""
    async with asyncio.timeout(120):
        while True:
            before = [one.heard for one in everybody]
            await change(database, redis, message)
            for _ in range(1_000):
                await asyncio.sleep(0.02)
                if all(one.heard > heard for one, heard in zip(everybody, before, strict=True)):
                    return


async def one_event(database: asyncpg.Connection, redis: Redis, message: UUID, everybody: list[Subscriber]) -> float:
    """Seconds from a commit to the last who has heard of it."""
    await asyncio.sleep(0.2)
    goal = [one.heard + 1 for one in everybody]
    start = await change(database, redis, message)
    async with asyncio.timeout(60):
        while any(one.heard < wanted for one, wanted in zip(everybody, goal, strict=True)):  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    assert [one.heard for one in everybody] == goal, "somebody was told twice"
    return max(one.heard_at for one in everybody) - start


async def change(database: asyncpg.Connection, redis: Redis, message: UUID) -> float:
    await database.execute(CHANGE, DEFAULT_TENANT, message)
    start = time.perf_counter()
    await redis.publish("interalpha:changes", DEFAULT_TENANT.bytes + message.bytes)
    return start


async def one_message(port: int, token: str) -> UUID:
    headers = {"authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=headers, trust_env=False) as http:
        answer = (await http.post("/graphql", json={"query": SEND})).json()
    assert answer["data"]["sendMessage"]["errors"] == [], answer
    id = answer["data"]["sendMessage"]["message"]["id"]
    return UUID(bytes=base64.urlsafe_b64decode(id + "=" * (-len(id) % 4))[-16:])


def surroundings(urls: StoreUrls, subscribers: int) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    return {
        **kept,
        "DATABASE_URL": urls.app,
        "DATABASE_URL_WORKER": urls.worker,
        "DATABASE_URL_DIRECT": urls.direct,
        "REDIS_URL": urls.redis,
        "ENCRYPTION_KEYS": "k1:" + "a" * 43 + "=",
        "TWILIO_ACCOUNT_SID": "AC" + "0" * 32,
        "TWILIO_AUTH_TOKEN": "a" * 32,
        "TWILIO_PHONE_NUMBER": "+15005550006",
        "SOCKETS_PER_CALLER": str(2 * subscribers),
        "CALLER_BUDGET": "1000000000",
    }


def megabytes(process: int) -> float:
    status = Path(f"/proc/{process}/status").read_text()
    return next(int(line.split()[1]) / 1_024 for line in status.splitlines() if line.startswith("VmRSS:"))


def processor_seconds(process: int) -> float:
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def until_open(port: int) -> None:
    async with asyncio.timeout(30):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.05)
            else:
                writer.close()
                return


if __name__ == "__main__":
    asyncio.run(main())
