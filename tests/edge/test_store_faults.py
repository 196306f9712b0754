"""Wrong passwords, roles, databases, tables and unreachable stores: named, waited for, logged briefly."""

import asyncio
import json
import os
import re
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest
from redis.asyncio import Redis
from saq.queue.redis import RedisQueue

from api.configuration import load_configuration
from api.queue import QUEUE
from api.worker.process import work
from core.database import Database, make_engine
from core.errors import Overloaded
from tests.apps import TWILIO
from tests.databases import ENCRYPTION_KEY, SharedStores, Urls
from tests.edge.factories import UNREACHABLE_DATABASE, UNREACHABLE_REDIS, Serving, url_with_login
from tests.helpers import all_logs, until
from tests.proxy import ChaosProxy

Lines = list[Mapping[str, Any]]


def with_password(redis: str) -> str:
    return f"redis://:wrong-secret@{redis.rpartition('@')[2]}"


@pytest.fixture
async def logins(edge_urls: Urls) -> AsyncIterator[None]:
    """A login without rights, and a role that may not log in."""
    superuser = await asyncpg.connect(edge_urls.superuser)
    await superuser.execute("CREATE ROLE nobody_special LOGIN PASSWORD 'plain'")
    await superuser.execute("CREATE ROLE no_login PASSWORD 'plain'")
    yield
    await superuser.execute("DROP ROLE nobody_special")
    await superuser.execute("DROP ROLE no_login")
    await superuser.close()


@pytest.mark.usefixtures("logins")
async def test_not_ready_says_which_reason_the_store_gives(serving: Serving, edge_urls: Urls) -> None:
    cases = (
        (
            "postgres",
            {"DATABASE_URL": url_with_login(edge_urls.app, "interalpha_app", "wrong-secret")},
            "WRONG_PASSWORD",
        ),
        ("postgres", {"DATABASE_URL": url_with_login(edge_urls.app, "stranger", "wrong-secret")}, "WRONG_PASSWORD"),
        ("postgres", {"DATABASE_URL": url_with_login(edge_urls.app, "no_login", "plain")}, "LOGIN_REFUSED"),
        ("postgres", {"DATABASE_URL": url_with_login(edge_urls.app, "nobody_special", "plain")}, "MISSING_RIGHT"),
        (
            "postgres",
            {"DATABASE_URL": url_with_login(edge_urls.superuser, "nobody_special", "plain", database="nowhere")},
            "UNKNOWN_DATABASE",
        ),
        ("postgres", {"DATABASE_URL": f"{edge_urls.app}?sslmode=verify-full"}, "NO_TLS"),
        ("postgres", {"DATABASE_URL": UNREACHABLE_DATABASE}, "UNREACHABLE"),
        ("postgres", {"DATABASE_URL": "postgresql://app@nowhere.invalid/app"}, "UNKNOWN_HOST"),
        ("redis", {"REDIS_URL": UNREACHABLE_REDIS}, "UNREACHABLE"),
        ("redis", {"REDIS_URL": with_password(edge_urls.redis)}, "WRONG_PASSWORD"),
        ("redis", {"REDIS_URL": f"{edge_urls.redis.rpartition('/')[0]}/9999"}, "UNKNOWN_DATABASE"),
        ("redis", {"REDIS_URL": edge_urls.redis.replace("redis://", "rediss://", 1)}, "NO_ANSWER"),
    )
    for part, changes, code in cases:
        async with serving(**changes) as client:
            answer = await client.get("/health/ready")
        found = answer.json()["parts"][part]
        assert (answer.status_code, found["ok"], found["code"]) == (503, False, code), (changes, found)
        assert re.fullmatch(r".+\. .+[.?]", found["detail"])
        for secret in ("wrong-secret", "127.0.0.1", "stranger"):
            assert secret not in answer.text


async def test_a_wrong_password_is_logged_once_with_the_servers_message_and_never_the_password(edge_urls: Urls) -> None:
    database = Database(make_engine(url_with_login(edge_urls.app, "interalpha_app", "wrong-secret")))
    with all_logs() as logs:
        for _ in range(20):
            with pytest.raises(Overloaded):
                async with database.transaction():
                    raise AssertionError("It was opened.")
    await database.close()
    assert [line["event"] for line in logs] == ["database_unreachable"]
    assert (logs[0]["log_level"], logs[0]["sqlstate"]) == ("error", "28P01")
    assert logs[0]["reason"].startswith("WRONG_PASSWORD: ")
    assert "password authentication failed" in logs[0]["said"]
    assert "wrong-secret" not in json.dumps(logs)


@asynccontextmanager
async def working(urls: Urls, **changes: str) -> AsyncIterator[Lines]:
    """A worker in this process that is stopped as its supervisor does it; what it logs."""
    environment = {
        "APP_ENV": "test",
        "DATABASE_URL": urls.worker,
        "REDIS_URL": urls.redis,
        "ENCRYPTION_KEYS": f"k1:{ENCRYPTION_KEY}",
        **TWILIO,
        **changes,
    }
    with all_logs() as logs:
        task = asyncio.create_task(work(load_configuration(environment)))
        try:
            yield logs
        finally:
            if not task.done():
                os.kill(os.getpid(), signal.SIGTERM)
            await asyncio.wait_for(task, 40)


def has(logs: Lines, event: str) -> Callable[[], Awaitable[bool]]:
    async def ask() -> bool:
        return any(line["event"] == event for line in logs)

    return ask


async def test_a_worker_waits_for_a_password_a_server_and_its_first_statement(stores: SharedStores) -> None:
    async with stores.database() as urls:
        superuser = await asyncpg.connect(urls.superuser)
        await superuser.execute("CREATE ROLE late_worker LOGIN PASSWORD 'before' IN ROLE interalpha_worker")
        proxy = ChaosProxy("postgres", urlsplit(urls.worker).port or 0)
        await proxy.start()
        address = url_with_login(f"postgresql://x@127.0.0.1:{proxy.port}/x", "late_worker", "after", database="x")
        address = address.replace("/x", urlsplit(urls.worker).path)
        proxy.refuse()
        async with working(urls, DATABASE_URL=address) as logs:
            await until(has(logs, "worker_waits"), bool)
            assert logs[-1]["reason"].startswith("UNREACHABLE: ")
            await proxy.accept()
            refused = "WRONG_PASSWORD: "

            async def told() -> bool:
                return any(str(line.get("reason", "")).startswith(refused) for line in logs)

            await until(told, bool)
            proxy.reset_after = b"INSERT INTO senders"
            await superuser.execute("ALTER ROLE late_worker PASSWORD 'after'")
            await until(has(logs, "worker_started"), bool)
        assert proxy.reset_after is None
        assert proxy.broken == 1
        waits = [line["reason"].partition(":")[0] for line in logs if line["event"] == "worker_waits"]
        assert waits[:2] == ["UNREACHABLE", "WRONG_PASSWORD"]
        assert len(waits) == len(set(waits))
        assert [line for line in logs if "exc_info" in line or line["log_level"] == "critical"] == []
        assert logs[-1]["event"] == "worker_stopped"
        await proxy.stop()
        await superuser.execute("DROP ROLE late_worker")
        await superuser.close()


async def test_a_worker_with_the_apis_login_says_which_right_it_lacks(stores: SharedStores) -> None:
    async with stores.database() as urls, working(urls, DATABASE_URL=urls.app) as logs:
        await until(has(logs, "worker_waits"), bool)
        [waits] = [line for line in logs if line["event"] == "worker_waits"]
        assert waits["reason"].startswith("MISSING_RIGHT: ")
        assert "interalpha_worker" in waits["reason"]
        assert waits["log_level"] == "error"


async def test_a_worker_without_redis_starts_and_says_what_it_lacks(stores: SharedStores) -> None:
    async with stores.database() as urls:
        wrong = with_password(urls.redis)
        for address, code in ((UNREACHABLE_REDIS, "UNREACHABLE"), (wrong, "WRONG_PASSWORD")):
            async with working(urls, REDIS_URL=address) as logs:
                await until(has(logs, "worker_started"), bool)
                await until(has(logs, "wake_ups_interrupted"), bool)
            found = [line["reason"] for line in logs if line["event"] == "wake_ups_interrupted"]
            assert [reason.partition(":")[0] for reason in found] == [code]
            assert "wrong-secret" not in json.dumps([str(line) for line in logs])


async def test_a_table_that_is_missing_costs_a_few_lines_and_no_webhook(stores: SharedStores) -> None:
    async with stores.database() as urls:
        owner = await asyncpg.connect(urls.direct)
        # A database of its own: a worker of another test would take the job.
        redis_url = f"{urls.redis.rpartition('/')[0]}/9"
        async with working(urls, REDIS_URL=redis_url) as logs:
            await until(has(logs, "worker_started"), bool)
            await owner.execute("ALTER TABLE messages RENAME TO messages_elsewhere")

            async def loops_that_wait() -> set[str]:
                return {line["loop"] for line in logs if line["event"] == "loop_waits"}

            expected = {"deliver SMS", "sweep"}
            await until(loops_that_wait, lambda found: expected <= found)
            await owner.execute("ALTER TABLE messages_elsewhere RENAME TO messages")
            await owner.execute("ALTER TABLE idempotency_keys RENAME TO keys_elsewhere")
            async with Redis.from_url(redis_url) as redis:
                queue = RedisQueue(redis, name=QUEUE)
                # A version that is being rolled out has more jobs than this one.
                await queue.enqueue("Worker.count parcels", retries=1, ttl=-1)
                await until(has(logs, "job_not_known"), bool)
                await queue.enqueue("Worker.housekeeping", retries=1, ttl=-1)
                await until(has(logs, "job_failed"), bool)
            await owner.execute("ALTER TABLE keys_elsewhere RENAME TO idempotency_keys")
        refusals = [line for line in logs if line["event"] == "database_refuses"]
        assert [line["reason"].partition(":")[0] for line in refusals] == ["TABLES_MISSING"]
        assert "messages" in refusals[0]["said"]
        [failed] = [line for line in logs if line["event"] == "job_failed"]
        assert (failed["job"], failed["reason"].partition(":")[0]) == ("Worker.housekeeping", "TABLES_MISSING")
        [unknown] = [line for line in logs if line["event"] == "job_not_known"]
        assert (unknown["job"], unknown["log_level"]) == ("Worker.count parcels", "warning")
        assert [line for line in logs if "exc_info" in line] == []
        loops = [line["loop"] for line in logs if line["event"] == "loop_waits"]
        assert len(loops) == len(set(loops))
        await owner.close()
