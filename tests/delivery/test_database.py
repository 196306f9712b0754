"""Database failures: a temporary one is reported as such, nothing half-stored remains, and no connection is lost."""

import asyncio

import asyncpg
import pytest
from sqlalchemy import text

from core.database import Database, make_engine
from core.errors import Overloaded
from core.ports.identity import DEFAULT_TENANT
from tests.databases import Urls


async def insert_worker(database: Database, name: str) -> None:
    async with database.transaction() as connection:
        await connection.execute(text("INSERT INTO workers (name) VALUES (:name)"), {"name": name})


async def workers(database: Database) -> set[str]:
    async with database.transaction() as connection:
        return set((await connection.execute(text("SELECT name FROM workers"))).scalars())


async def test_a_transaction_knows_its_tenants_and_forgets_them(worker_database: Database) -> None:
    async def told() -> str:
        return (await connection.execute(text("SELECT current_setting('app.tenants', true)"))).scalar_one()

    async with worker_database.transaction(DEFAULT_TENANT) as connection:
        assert await told() == str(DEFAULT_TENANT)
    async with worker_database.transaction() as connection:
        assert await told() == ""
    # Not even outside a transaction: a setting of the session would pass to a pooler's next client.
    for _ in range(3):
        async with worker_database.transaction(DEFAULT_TENANT):
            pass
        async with worker_database.engine.connect() as connection:
            assert await told() == ""


async def test_only_ids_that_were_read_as_such_name_a_transactions_tenants(worker_database: Database) -> None:
    for written in (str(DEFAULT_TENANT), "', true); DROP TABLE messages; --", None):
        with pytest.raises(TypeError):
            async with worker_database.transaction(DEFAULT_TENANT, written):  # type: ignore[arg-type]
                raise AssertionError("It was opened.")


async def test_a_statement_ends_before_its_caller_gives_the_connection_up(worker_database: Database) -> None:
    async with worker_database.transaction() as connection:
        assert (await connection.execute(text("SHOW statement_timeout"))).scalar_one() == "14s"
        assert (await connection.execute(text("SHOW idle_in_transaction_session_timeout"))).scalar_one() == "30s"


async def test_an_exception_rolls_back_and_gives_the_connection_back(worker_database: Database) -> None:
    for _ in range(20):
        with pytest.raises(KeyError):
            async with worker_database.transaction() as connection:
                await connection.execute(text("INSERT INTO workers (name) VALUES ('x')"))
                raise KeyError
    assert await workers(worker_database) == set()


async def test_a_transaction_that_failed_inside_is_never_taken_for_committed(worker_database: Database) -> None:
    with pytest.raises(RuntimeError, match="rolled back"):
        async with worker_database.transaction() as connection:
            await connection.execute(text("INSERT INTO workers (name) VALUES ('x')"))
            with pytest.raises(Exception, match="syntax"):
                await connection.execute(text("SELEKT 1"))
    assert await workers(worker_database) == set()


async def test_connections_killed_while_idle_are_replaced_unnoticed(worker_database: Database, urls: Urls) -> None:
    await asyncio.gather(*(workers(worker_database) for _ in range(10)))
    await kill_all(urls, "interalpha_worker")
    await asyncio.gather(*(insert_worker(worker_database, str(number)) for number in range(10)))
    assert len(await workers(worker_database)) == 10


async def test_a_connection_killed_in_the_middle_says_that_nothing_was_stored(
    worker_database: Database, urls: Urls
) -> None:
    with pytest.raises(Overloaded, match="nothing was stored"):
        async with worker_database.transaction() as connection:
            await connection.execute(text("INSERT INTO workers (name) VALUES ('x')"))
            await kill_all(urls, "interalpha_worker")
            await connection.execute(text("SELECT 1"))
    assert await workers(worker_database) == set()


async def test_a_connection_killed_before_the_commit_asks_to_repeat(worker_database: Database, urls: Urls) -> None:
    with pytest.raises(Overloaded, match="idempotency key"):
        async with worker_database.transaction() as connection:
            await connection.execute(text("INSERT INTO workers (name) VALUES ('x')"))
            await kill_all(urls, "interalpha_worker")
    assert await workers(worker_database) == set()


async def test_a_cancelled_statement_costs_no_connection(worker_database: Database) -> None:
    async def sleep() -> None:
        async with worker_database.transaction() as connection:
            await connection.execute(text("SELECT pg_sleep(30)"))

    for _ in range(12):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(sleep(), 0.02)
    assert await workers(worker_database) == set()


async def test_a_server_that_is_not_there_says_so(urls: Urls) -> None:
    database = Database(make_engine("postgresql://a:b@127.0.0.1:1/c"))
    with pytest.raises(Overloaded, match="cannot be reached"):
        await workers(database)
    await database.close()


async def test_a_full_pool_says_so_instead_of_waiting_for_ever(urls: Urls, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = make_engine(urls.worker, pool_size=1)
    monkeypatch.setattr(engine.sync_engine.pool, "_timeout", 0.05)
    database = Database(engine)
    async with database.transaction():
        with pytest.raises(Overloaded, match="cannot be reached"):
            await workers(database)
    await database.close()


async def test_without_prepared_statements_everything_works_too(urls: Urls) -> None:
    database = Database(make_engine(urls.worker, prepared_statements=False))
    await insert_worker(database, "x")
    assert await workers(database) == {"x"}
    await database.close()


async def kill_all(urls: Urls, role: str) -> None:
    owner = await asyncpg.connect(urls.superuser)
    await owner.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1 AND datname = current_database()",
        role,
    )
    await owner.close()
