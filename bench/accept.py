"""How fast messages are accepted over HTTP: one API process, a durable PostgreSQL beside it, and no worker.

    .venv/bin/python bench/accept.py [MESSAGES] [CLIENTS …]          # 4000 messages; 32 and 128 clients

The client speaks HTTP/1.1 over plain sockets, so that it takes little of the machine it shares. Every answer is
checked, and the messages are counted in the database at the end. Read ratios between two runs of the same minute, not
absolutes.
"""

import asyncio
import json
import os
import platform
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg

from api.embedded.stores import Stores, StoreUrls

PROGRAM = str(Path(sys.executable).with_name("interalpha"))
FEATURES = "authentication, sealed columns, idempotency keys, events, logging and metrics on; fsync on"
SEND = """mutation($input: SendMessageInput!) {
  sendMessage(input: $input) {
    isReplay message { id status createdAt } errors { __typename ... on UserError { message } } }
}"""


async def main() -> None:
    given = [int(one) for one in sys.argv[1:]]
    messages, clients = (given or [4000])[0], given[1:] or [32, 128]
    with tempfile.TemporaryDirectory() as folder:
        async with Stores(Path(folder) / "data") as urls:
            environment = surroundings(urls)
            await asyncio.to_thread(subprocess.check_call, [PROGRAM, "migrate", "up"], env=environment, cwd=folder)
            token = subprocess.check_output([PROGRAM, "token"], env=environment, cwd=folder, text=True).strip()  # noqa: ASYNC221
            port = free_port()
            server = await asyncio.create_subprocess_exec(
                PROGRAM, "serve", "--port", str(port), env=environment, cwd=folder, stderr=asyncio.subprocess.DEVNULL
            )
            try:
                await until_open(port)
                await measure_all(port, server.pid, token, urls, messages, clients)
            finally:
                server.terminate()
                await server.wait()


async def measure_all(port: int, process: int, token: str, urls: StoreUrls, messages: int, clients: list[int]) -> None:
    print(f"{platform.machine()}, {os.cpu_count()} CPUs, Python {platform.python_version()}; {FEATURES}")
    await measure(port, token, 200, 8)
    for count in clients:
        before = processor_seconds(process)
        rates, tails = zip(*[await measure(port, token, messages, count) for _ in range(3)], strict=True)
        rate, tail = statistics.median(rates), statistics.median(tails)
        spread = f"{min(rates):.0f} to {max(rates):.0f}"
        # What it costs says more than the rate on a machine that others use, too.
        cost = (processor_seconds(process) - before) / messages / 3 * 1000
        print(
            f"accepted {rate:7.0f} messages/s ({spread})   p99 {tail * 1000:5.0f} ms   {count} clients"
            f"   {cost:.2f} ms of the API's processor each"
        )
    database = await asyncpg.connect(urls.direct)
    stored = await database.fetchval("SELECT count(*) FROM messages")
    assert stored == 200 + 3 * messages * len(clients), stored
    await database.close()


async def measure(port: int, token: str, messages: int, clients: int) -> tuple[float, float]:
    """Messages a second, and the 99th percentile in seconds."""
    requests = (request(token, number) for number in range(messages))
    times: list[float] = []
    start = time.perf_counter()
    await asyncio.gather(*(client(port, requests, times) for _ in range(clients)))
    return messages / (time.perf_counter() - start), statistics.quantiles(times, n=100)[98]


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


def surroundings(urls: StoreUrls) -> dict[str, str]:
    return {
        # What is measured is accepting, not what one caller may ask for.
        "CALLER_BUDGET": "1000000000",
        "PATH": os.environ["PATH"],
        "DATABASE_URL": urls.app,
        "DATABASE_URL_WORKER": urls.worker,
        "DATABASE_URL_DIRECT": urls.direct,
        "REDIS_URL": urls.redis,
        "ENCRYPTION_KEYS": "k1:" + "a" * 43 + "=",
        "TWILIO_ACCOUNT_SID": "AC" + "0" * 32,
        "TWILIO_AUTH_TOKEN": "a" * 32,
        "TWILIO_PHONE_NUMBER": "+15005550006",
    }


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
                await asyncio.sleep(0.1)
            else:
                return writer.close()


if __name__ == "__main__":
    asyncio.run(main())
