"""One PostgreSQL and one Valkey for the whole run, and migrated databases in them."""

import asyncio
import gc
import json
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest
from aiohttp import web
from redis.asyncio import Redis

from api.logs import configure_logging
from api.migrations import metadata, upgrade
from core.database import Database, make_engine
from core.pubsub import Hub
from core.sealing import Sealer
from devkit.embedded.stores import Stores
from integrations.simulating.client import SimulatorControl
from tests.databases import TEMPLATE_DATABASE, SharedStores, Urls
from tests.servers import Simulators, WebhookReceiver, start_simulators

# As in production: tracebacks without local variables, since those hold addresses and words.
configure_logging("warning", as_json=False)

# The default tenant, and the record of applied migrations.
KEPT = {"tenants", "contracts"}


# Imports and items stay for the whole run: the garbage collector need not look at them (a quarter of the collection).
gc.disable()


def pytest_collection_finish() -> None:
    """Exempt everything collected from garbage collection, and collect the rest rarely (a seventh of the run)."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    gc.enable()


@pytest.fixture(scope="session")
async def stores() -> AsyncIterator[SharedStores]:
    with tempfile.TemporaryDirectory(prefix="interalpha-tests-") as folder:
        embedded = Stores(Path(folder) / "data", durable=False)
        urls = await embedded.start()
        try:
            running = SharedStores(urls, embedded.superuser_url)
            await running.execute(f"CREATE DATABASE {TEMPLATE_DATABASE} TEMPLATE interalpha OWNER interalpha_migrate")
            await asyncio.to_thread(upgrade, running.named(TEMPLATE_DATABASE).direct)
            yield running
        finally:
            await embedded.stop()


@pytest.fixture(scope="session")
async def shared_database(stores: SharedStores) -> AsyncIterator[tuple[Urls, asyncpg.Connection]]:
    async with stores.database() as found:
        owner = await asyncpg.connect(found.direct)
        yield found, owner
        await owner.close()


@pytest.fixture
async def urls(shared_database: tuple[Urls, asyncpg.Connection]) -> Urls:
    """A database as the migrations leave it. It is shared and emptied, which is 100 times faster."""
    found, owner = shared_database
    # The tables that refer to others come first.
    tables = [table.name for table in reversed(metadata.sorted_tables) if table.name not in KEPT]
    await owner.execute(";".join(f"DELETE FROM {table}" for table in tables))
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


@pytest.fixture(scope="session")
async def receiver() -> AsyncIterator[WebhookReceiver]:
    receiver = WebhookReceiver()
    app = web.Application()
    app.router.add_post("/{path:.*}", receiver.take)
    app.router.add_get("/webhooks/whatsapp", receiver.shake_hands)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    receiver.base = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield receiver
    await runner.cleanup()


@pytest.fixture(scope="session")
async def process(receiver: WebhookReceiver) -> AsyncIterator[Simulators]:
    child = await start_simulators(PUBLIC_BASE_URL=receiver.base)
    assert child.stdout is not None
    async with asyncio.timeout(10):
        line = await child.stdout.readline()
    assert line, (await child.communicate())[1].decode()
    announced = json.loads(line)
    async with SimulatorControl(announced["http"]) as control:
        yield Simulators(announced, control)
    child.terminate()
    async with asyncio.timeout(5):
        _, errors = await child.communicate()
    assert (child.returncode, errors.decode()) == (0, "")


@pytest.fixture
async def simulators(process: Simulators, receiver: WebhookReceiver) -> Simulators:
    """The process as on its first day."""
    await process.control.reset()
    receiver.received.clear()
    receiver.answers.clear()
    return process
