"""PostgreSQL and Valkey, each in a folder of its own, so that either can be killed and started again."""

import asyncio
import os
import signal
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
from redis.asyncio import Redis

from devkit.embedded.folder import mark
from devkit.embedded.process import command_line
from devkit.embedded.stores import Stores, StoreUrls
from tests.servers import reserved_port


@dataclass(eq=False)
class Store:
    """A server that keeps its address when it is started again; it writes its process id to `pid_file`."""

    folder: Path
    stores: Stores
    pid_file: Path
    port_file: str
    urls: StoreUrls | None = None

    async def start(self) -> StoreUrls:
        """Start it, also again after it was killed, unless it is running."""
        if self.urls is not None:
            if self._is_running():
                return self.urls
            await self.stores.stop()
        else:
            # The port it asks for, and gets again at each restart.
            self.folder.mkdir(mode=0o700, parents=True)
            mark(self.folder)
            (self.folder / self.port_file).write_text(str(reserved_port()))
        urls = await self.stores.start()
        assert self.urls in (None, urls), "it restarted at another address"
        self.urls = urls
        return urls

    def _is_running(self) -> bool:
        try:
            return str(self.folder) in command_line(int(self.pid_file.read_text().split()[0]))
        except (FileNotFoundError, IndexError, ValueError):
            return False

    def send_signal(self, number: signal.Signals) -> None:
        """Send it a signal, if it runs."""
        if self._is_running():
            with suppress(ProcessLookupError):
                os.kill(int(self.pid_file.read_text().split()[0]), number)

    async def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        """Send it a signal and wait for its end."""
        self.send_signal(number)
        async with asyncio.timeout(20):
            while self._is_running():
                await asyncio.sleep(0.01)


@dataclass(eq=False)
class StoreServers:
    """Both servers, with direct access to their data."""

    folder: Path
    postgres: Store = field(init=False)
    valkey: Store = field(init=False)

    def __post_init__(self) -> None:
        # Durable as in production: what was acknowledged must survive a killed server.
        home = self.folder / "pg"
        self.postgres = Store(home, Stores(home, redis=False), home / "postgres" / "postmaster.pid", "postgres.port")
        home = self.folder / "valkey"
        self.valkey = Store(home, Stores(home, postgres=False), home / "valkey" / "valkey.pid", "valkey.port")

    @property
    def superuser(self) -> str:
        """The URL of the database, not through a proxy, so that no fault blocks it."""
        return urlsplit(self.postgres.stores.superuser_url)._replace(path="/interalpha").geturl()

    async def execute(self, statement: str, *values: object) -> None:
        connection = await asyncpg.connect(self.superuser, timeout=10)
        try:
            await connection.execute(statement, *values)
        finally:
            await connection.close()

    async def fetch(self, statement: str, *values: object) -> list[asyncpg.Record]:
        connection = await asyncpg.connect(self.superuser, timeout=10)
        try:
            return list(await connection.fetch(statement, *values))
        finally:
            await connection.close()

    async def terminate_backends(self) -> None:
        """End every connection of the product's roles except this one."""
        await self.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE usename LIKE 'interalpha%' AND pid <> pg_backend_pid()"
        )

    async def flush(self) -> None:
        """Empty Valkey."""
        assert self.valkey.urls is not None
        async with Redis.from_url(self.valkey.urls.redis) as redis:
            await redis.flushall()

    async def stop(self) -> None:
        await self.valkey.stores.stop()
        await self.postgres.stores.stop()
