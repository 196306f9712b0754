"""One PostgreSQL and one Valkey for the whole run; a database of its own, made by the migrations, for whoever asks."""

import asyncio
import base64
import gc
import logging
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit
from uuid import uuid4

import asyncpg
import pytest
import structlog
from redis.asyncio import Redis
from structlog.testing import capture_logs

from api.embedded.stores import Stores, StoreUrls
from api.logs import configure_logging
from api.migrations import upgrade
from core.database import Database, make_engine
from core.pubsub import Hub
from core.sealing import Sealer

Result = TypeVar("Result")

# As in production: tracebacks without local variables, since those hold addresses and words.
configure_logging("warning", as_json=False)

KEY = base64.b64encode(b"k" * 32).decode()
_TEMPLATE = "interalpha_template"


def pytest_collection_finish() -> None:
    """What is there before the first test stays: the collector need not look at it again (a seventh of the time)."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


@dataclass(frozen=True)
class Urls:
    """One database, by each role."""

    app: str
    worker: str
    direct: str
    superuser: str
    redis: str


@dataclass(frozen=True)
class Running:
    """The stores of this run."""

    urls: StoreUrls
    superuser: str

    async def execute(self, statement: str) -> None:
        connection = await asyncpg.connect(self.superuser)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    def named(self, name: str) -> Urls:
        def renamed(url: str) -> str:
            return urlsplit(url)._replace(path=f"/{name}").geturl()

        app, worker, direct = self.urls.app, self.urls.worker, self.urls.direct
        return Urls(renamed(app), renamed(worker), renamed(direct), renamed(self.superuser), self.urls.redis)

    @asynccontextmanager
    async def database(self) -> AsyncIterator[Urls]:
        """A migrated database of one's own, gone afterwards."""
        name = f"test_{uuid4().hex}"
        await self.execute(f"CREATE DATABASE {name} TEMPLATE {_TEMPLATE} OWNER interalpha_migrate")
        try:
            yield self.named(name)
        finally:
            await self.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="session")
async def stores() -> AsyncIterator[Running]:
    with tempfile.TemporaryDirectory(prefix="interalpha-tests-") as folder:
        embedded = Stores(Path(folder) / "data", durable=False)
        urls = await embedded.start()
        try:
            running = Running(urls, embedded.superuser_url)
            await running.execute(f"CREATE DATABASE {_TEMPLATE} TEMPLATE interalpha OWNER interalpha_migrate")
            await asyncio.to_thread(upgrade, running.named(_TEMPLATE).direct)
            yield running
        finally:
            await embedded.stop()


@pytest.fixture(scope="session")
async def shared_database(stores: Running) -> AsyncIterator[tuple[Urls, asyncpg.Connection]]:
    async with stores.database() as found:
        owner = await asyncpg.connect(found.direct)
        yield found, owner
        await owner.close()


@pytest.fixture
async def urls(shared_database: tuple[Urls, asyncpg.Connection]) -> Urls:
    """A database as the migrations leave it: emptied, which takes a hundredth of making one."""
    found, owner = shared_database
    tables = (
        "inbox, message_events, attempts, messages, idempotency_keys, senders, workers, external_ids, "
        "audit_events, erasures, message_batches, dead_letters, pulses, daily_counts, templates, "
        "template_catalogues, memberships, users, ended_sessions, api_keys, servers, lookup_keys"
    )
    await owner.execute(";".join(f"DELETE FROM {table}" for table in tables.split(", ")))
    await owner.execute("DELETE FROM tenants WHERE slug <> 'default'")
    return found


@pytest.fixture
def sealer() -> Sealer:
    return Sealer({"k1": b"k" * 32})


@pytest.fixture
async def app_database(urls: Urls) -> AsyncIterator[Database]:
    database = Database(make_engine(urls.app))
    yield database
    await database.close()


@pytest.fixture
async def worker_database(urls: Urls) -> AsyncIterator[Database]:
    database = Database(make_engine(urls.worker))
    yield database
    await database.close()


@pytest.fixture
async def hub(urls: Urls) -> AsyncIterator[Hub]:
    redis = Redis.from_url(urls.redis)
    yield Hub(redis)
    # Hints are published behind their callers' backs: one that is still on its way would open the connection again.
    late = [task for task in asyncio.all_tasks() if "StoredNotifier" in repr(task.get_coro())]
    await asyncio.gather(*late, return_exceptions=True)
    await redis.aclose()


@contextmanager
def all_logs() -> Iterator[list[Any]]:
    """What is logged, at every level."""
    usual = structlog.get_config()["wrapper_class"]
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG))
    try:
        with capture_logs() as logs:
            yield logs
    finally:
        structlog.configure(wrapper_class=usual)


async def until(ask: Callable[[], Awaitable[Result]], holds: Callable[[Result], bool], seconds: float = 10) -> Result:
    """Ask until the answer is the one waited for, not longer than needed."""
    answer = None
    try:
        async with asyncio.timeout(seconds):
            while not holds(answer := await ask()):
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(f"still {answer!r} after {seconds} s") from None
    return answer
