"""Health: alive whatever the state of the stores; ready only when every part is."""

import time
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import httpx
import pytest

from api.bootstrap import App
from api.http.health import Readiness
from api.migrations import head_revision, is_current
from core.database import Database, make_engine
from core.liveness import record_missing_keys, record_worker, remove_worker
from tests.apps import build_application
from tests.databases import SharedStores, Urls
from tests.edge.factories import UNREACHABLE_DATABASE, UNREACHABLE_REDIS, Serving, client_of
from tests.proxy import ChaosProxy


@pytest.fixture
async def worker(edge_urls: Urls) -> AsyncIterator[Database]:
    """A worker that has just been seen."""
    database = Database(make_engine(edge_urls.worker))
    await record_worker(database, "test-worker", "0012")
    yield database
    await remove_worker(database, "test-worker")
    await database.close()


async def readiness(client: httpx.AsyncClient) -> tuple[int, str, dict[str, bool]]:
    """The status, the word for it, and which parts are well."""
    answer = await client.get("/health/ready")
    assert answer.headers["cache-control"] == "no-store"
    found: dict[str, Any] = answer.json()
    return answer.status_code, found["status"], {name: part["ok"] for name, part in found["parts"].items()}


WELL = {"postgres": True, "redis": True, "isolation": True, "migrations": True, "worker": True}


async def test_alive_never_asks_a_store(serving: Serving) -> None:
    async with serving(DATABASE_URL=UNREACHABLE_DATABASE, REDIS_URL=UNREACHABLE_REDIS) as client:
        answer = await client.get("/health/live")
    assert (answer.status_code, answer.json()) == (200, {"status": "live"})


@pytest.mark.usefixtures("worker")
async def test_ready_when_every_part_is(client: httpx.AsyncClient) -> None:
    assert await readiness(client) == (200, "ready", WELL)


async def test_a_worker_that_lacks_a_key_is_named_with_it(client: httpx.AsyncClient, worker: Database) -> None:
    await record_missing_keys(worker, "test-worker", {"k2"})
    assert await readiness(client) == (200, "ready", WELL | {"keys": True})
    detail = (await client.get("/health/ready")).json()["parts"]["keys"]["detail"]
    assert detail == "test-worker lacks k2: messages wait for that"


async def test_not_ready_without_a_worker(client: httpx.AsyncClient) -> None:
    assert await readiness(client) == (503, "not ready", WELL | {"worker": False})


async def test_a_worker_that_fell_silent_does_not_count(
    client: httpx.AsyncClient, worker: Database, owner: Any
) -> None:
    await owner.execute("UPDATE workers SET seen_at = now() - interval '20 seconds'")
    assert await readiness(client) == (503, "not ready", WELL | {"worker": False})


@pytest.mark.usefixtures("worker")
async def test_not_ready_while_the_database_is_away(serving: Serving) -> None:
    async with serving(DATABASE_URL=UNREACHABLE_DATABASE) as client:
        assert await readiness(client) == (503, "not ready", {"postgres": False, "redis": True})


@pytest.mark.usefixtures("worker")
async def test_a_hanging_database_is_reported_before_its_connection_times_out(
    serving: Serving, edge_urls: Urls
) -> None:
    address = urlsplit(edge_urls.app)
    proxy = ChaosProxy("postgres", address.port or 0)
    await proxy.start()
    netloc = address.netloc.replace(f":{address.port}", f":{proxy.port}")
    async with serving(DATABASE_URL=address._replace(netloc=netloc).geturl()) as client:
        assert await readiness(client) == (200, "ready", WELL)
        proxy.stall()
        began = time.monotonic()
        assert await readiness(client) == (503, "not ready", {"postgres": False, "redis": True})
        assert time.monotonic() - began < 4
        await proxy.stop()


@pytest.mark.usefixtures("worker")
async def test_not_ready_while_redis_is_away(serving: Serving) -> None:
    async with serving(REDIS_URL=UNREACHABLE_REDIS) as client:
        assert await readiness(client) == (503, "not ready", WELL | {"redis": False})


async def test_not_ready_before_the_first_migration(stores: SharedStores) -> None:
    await stores.execute("CREATE DATABASE test_unmigrated")
    application = build_application(stores.named("test_unmigrated"))
    try:
        async with client_of(application) as client:
            assert await readiness(client) == (503, "not ready", WELL | {"migrations": False, "worker": False})
    finally:
        await application.close()
        await stores.execute("DROP DATABASE test_unmigrated WITH (FORCE)")


async def test_not_ready_behind_the_newest_migration(stores: SharedStores) -> None:
    async with stores.database() as urls:
        connection = await asyncpg.connect(urls.direct)
        await connection.execute("UPDATE alembic_version SET version_num = '0000'")
        await connection.close()
        application = build_application(urls)
        async with client_of(application) as client:
            answer = await client.get("/health/ready")
        await application.close()
    assert answer.status_code == 503
    assert answer.json()["parts"]["migrations"] == {
        "ok": False,
        "detail": f"at 0000, {head_revision()} is the newest: interalpha migrate up",
    }


@pytest.mark.usefixtures("worker")
@pytest.mark.parametrize("power", ["SUPERUSER", "BYPASSRLS"])
async def test_not_ready_with_a_login_that_row_level_security_does_not_hold(
    serving: Serving, edge_urls: Urls, power: str
) -> None:
    login, address = f"strong_by_{power.lower()}", urlsplit(edge_urls.app)
    superuser = await asyncpg.connect(edge_urls.superuser)
    await superuser.execute(f"CREATE ROLE {login} LOGIN PASSWORD 'strong' {power} IN ROLE interalpha_app")
    try:
        netloc = f"{login}:strong@{address.hostname}:{address.port}"
        async with serving(DATABASE_URL=address._replace(netloc=netloc).geturl()) as client:
            assert await readiness(client) == (503, "not ready", WELL | {"isolation": False})
    finally:
        await superuser.execute(f"DROP ROLE {login}")
        await superuser.close()


@pytest.mark.usefixtures("worker")
async def test_not_ready_while_draining(application: App) -> None:
    ready = Readiness(application)
    async with client_of(application, ready) as client:
        assert (await readiness(client))[0] == 200
        ready.draining.set()
        assert await readiness(client) == (503, "not ready", WELL | {"process": False})
        assert (await client.get("/health/live")).status_code == 200


async def test_what_is_wrong_is_said_without_an_address(serving: Serving) -> None:
    async with serving(DATABASE_URL="postgresql://app:secret-word@127.0.0.1:9/app") as client:
        text = (await client.get("/health/ready")).text
    assert "secret-word" not in text
    assert "127.0.0.1" not in text


@pytest.mark.parametrize(("revision", "expected"), [(None, False), ("0000", False), ("9999", True)])
def test_a_newer_database_is_fine_so_that_a_new_version_can_be_rolled_out(revision: str | None, expected: bool) -> None:
    assert is_current(revision) is expected
    assert is_current(head_revision())
