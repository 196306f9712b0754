"""Shared by the tests of the stores: rows and keys, running servers, and stores started by another process."""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import asyncpg
from redis.asyncio import Redis

from devkit.embedded.process import command_line

PROGRAM = Path(__file__).with_name("start_stores.py")


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(url, timeout=5)
    try:
        yield connection
    finally:
        await connection.close(timeout=5)


async def keep_row(url: str, word: str) -> None:
    async with connected(url) as connection:
        await connection.execute("CREATE TABLE IF NOT EXISTS kept (word text)")
        await connection.execute("INSERT INTO kept VALUES ($1)", word)


async def kept_rows(url: str) -> list[str]:
    async with connected(url) as connection:
        return [row["word"] for row in await connection.fetch("SELECT word FROM kept ORDER BY word")]


async def keep_key(url: str, value: str) -> None:
    async with Redis.from_url(url) as client:
        await client.set("kept", value)


async def kept_key(url: str) -> bytes | None:
    async with Redis.from_url(url) as client:
        return await client.get("kept")


def server_pids(folder: Path) -> tuple[int, int]:
    """Return the process ids that PostgreSQL and Valkey have written down."""
    postgres = (folder / "postgres" / "postmaster.pid").read_text().split()[0]
    return int(postgres), int((folder / "valkey" / "valkey.pid").read_text())


def running_servers(folder: Path) -> list[str]:
    """Return the command lines of running servers that name the folder."""
    lines = [command_line(int(entry.name)) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    return [line for line in lines if str(folder) in line and PROGRAM.name not in line]


async def eventually(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition was not fulfilled in time"
        await asyncio.sleep(0.01)


@contextmanager
def stores_of_another_process(folder: Path, *options: str) -> Iterator[tuple[subprocess.Popen[str], dict[str, str]]]:
    """Start the stores in another process; yield it with the URLs it printed."""
    command = [sys.executable, str(PROGRAM), str(folder), *options]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        try:
            assert other.stdout is not None
            yield other, json.loads(other.stdout.readline())
        finally:
            other.kill()
