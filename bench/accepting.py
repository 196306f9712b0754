"""B: how fast messages are accepted, durably, beside mercurius with its JIT, PostgreSQL and BullMQ.

    .venv/bin/python bench/accepting.py [MESSAGES] [CLIENTS …]       # 3000 messages; 32 and 128 clients

One server process each on the same stores, and no worker. The client speaks HTTP/1.1 over plain sockets, so that it
takes little of the machine it shares. Every answer is checked, and the messages are counted in the database at the end.
"""

import asyncio
import json
import os
import signal
import statistics
import sys
import tempfile
import time
from asyncio.subprocess import Process
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from figures import Side, compare, machine
from ground import SECRET, Ground, free_port, ground, processor_seconds

from core.access.sessions import DevelopmentTokens

ROUNDS = 5
WARM_UP = 500
OURS = "authentication, tenant isolation, sealed columns, idempotency keys, events, logging and metrics on"
PEER = (
    "authentication, idempotency keys, events, a BullMQ job each; nothing sealed, a job is lost if it dies in between"
)
SEND = """mutation($input: SendMessageInput!) {
  sendMessage(input: $input) {
    isReplay message { id status createdAt } errors { __typename ... on UserError { message } }
  }
}"""


async def main() -> None:
    given = [int(one) for one in sys.argv[1:]]
    messages, clients = (given or [3000])[0], given[1:] or [32, 128]
    with tempfile.TemporaryDirectory() as folder:
        async with ground(Path(folder)) as at:
            ours, peer = free_port(), free_port()
            async with (
                at.program("serve", "--port", str(ours)) as server,
                at.peer("accept.js", PORT=str(peer)) as other,
            ):
                print(f"{machine()}; fsync on\n  ours: {OURS}\n  peer: {PEER}", flush=True)
                for port in (ours, peer):
                    await until_open(port)
                    await measure(port, token(), WARM_UP, 32)
                for count in clients:
                    await beside(messages, count, (ours, server), (peer, other))
            expected = WARM_UP + messages * ROUNDS * len(clients)
            await verify(at, expected)


async def beside(messages: int, clients: int, ours: tuple[int, Process], peer: tuple[int, Process]) -> None:
    print(f"{clients} clients", flush=True)
    sides = (Side("ours"), Side("mercurius + BullMQ"))
    for _ in range(ROUNDS):
        for side, (port, process), (_, other) in zip(sides, (ours, peer), (peer, ours), strict=True):
            # Whoever is not being measured takes nothing of the machine.
            other.send_signal(signal.SIGSTOP)
            before = processor_seconds(process.pid)
            rate, half, tail = await measure(port, token(), messages, clients)
            side.rates.append(rate)
            side.halves.append(half)
            side.tails.append(tail)
            side.costs.append((processor_seconds(process.pid) - before) / messages * 1000)
            other.send_signal(signal.SIGCONT)
    compare(*sides)


async def verify(at: Ground, expected: int) -> None:
    for table in ("public.messages", "peer.messages", "public.message_events", "peer.message_events"):
        stored = await at.count(f"SELECT count(*) FROM {table}")
        assert stored == expected, (table, stored, expected)
    print(f"verified: {expected} messages and as many events in the database of each side")


async def measure(port: int, token: str, messages: int, clients: int) -> tuple[float, float, float]:
    """Messages a second, and the median and the 99th percentile in seconds."""
    requests = (request(token, number) for number in range(messages))
    times: list[float] = []
    start = time.perf_counter()
    await asyncio.gather(*(client(port, requests, times) for _ in range(clients)))
    took = time.perf_counter() - start
    return messages / took, statistics.median(times), statistics.quantiles(times, n=100)[98]


async def client(port: int, requests: Iterator[bytes], times: list[float]) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for one in requests:
        start = time.perf_counter()
        # Told to come back, a client does, with the same key; the wait counts.
        while not (answer := await ask(reader, writer, one)).get("data"):
            assert answer["errors"][0]["extensions"]["code"] == "TRY_AGAIN", answer
        times.append(time.perf_counter() - start)
        payload = answer["data"]["sendMessage"]
        assert payload["errors"] == [], payload
        assert payload["message"]["status"] == "QUEUED", payload
    writer.close()


async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, one: bytes) -> dict[str, Any]:
    writer.write(one)
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    return dict(json.loads(await reader.readexactly(length)))


def request(token: str, number: int) -> bytes:
    given = {
        "to": {"phone": f"+55119870{number % 100_000:05d}"},
        "content": {"text": "Olá, Ana! Sua consulta é amanhã às 15h."},
        "route": [{"channel": "SMS"}],
        "idempotencyKey": os.urandom(12).hex(),
    }
    body = json.dumps({"query": SEND, "variables": {"input": given}}).encode()
    head = (
        f"POST /graphql HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer {token}\r\ncontent-type: application/json\r\n"
    )
    return f"{head}content-length: {len(body)}\r\n\r\n".encode() + body


def token() -> str:
    return DevelopmentTokens(SECRET).make()


async def until_open(port: int) -> None:
    async with asyncio.timeout(60):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.1)
            else:
                return writer.close()


if __name__ == "__main__":
    asyncio.run(main())
