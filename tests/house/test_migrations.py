"""Migrations: one line of them, up and down again, and the result matches the table metadata."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from api.migrations import current_revision, downgrade, head_revision, metadata, migrations_folder, upgrade
from core.database import asyncpg_address
from tests.databases import SharedStores, Urls

# Tables that belong to no tenant.
SHARED_TABLES = {
    "tenants",
    "users",
    "ended_sessions",
    "workers",
    "servers",
    "pulses",
    "probe_turns",
    "daily_counts",
    "provider_calls",
    "lookup_keys",
    "contracts",
}

STRUCTURE = text(
    """
    SELECT 'column', table_name, concat_ws(' ', column_name, data_type, is_nullable, column_default, is_identity)
    FROM information_schema.columns WHERE table_schema = 'public'
    UNION ALL SELECT 'index', tablename, indexdef FROM pg_indexes WHERE schemaname = 'public'
    UNION ALL SELECT 'constraint', conrelid::regclass::text, pg_get_constraintdef(oid)
    FROM pg_constraint WHERE connamespace = 'public'::regnamespace
    UNION ALL SELECT 'grant', table_name, concat_ws(' ', grantee, privilege_type)
    FROM information_schema.role_table_grants WHERE table_schema = 'public'
    UNION ALL SELECT 'policy', tablename, concat_ws(' ', policyname, permissive, roles, cmd, qual, with_check)
    FROM pg_policies WHERE schemaname = 'public'
    UNION ALL SELECT 'rows', relname, concat_ws(' ', relrowsecurity, relforcerowsecurity)
    FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'
    UNION ALL SELECT 'function', proname, concat_ws(' ', pg_get_functiondef(oid), proacl)
    FROM pg_proc WHERE pronamespace = 'public'::regnamespace
    """
)


@pytest.fixture
async def fresh(stores: SharedStores) -> AsyncIterator[Urls]:
    """A database for one test: its tables are dropped here."""
    async with stores.database() as urls:
        yield urls


@pytest.fixture
async def owner(fresh: Urls) -> AsyncIterator[AsyncConnection]:
    url, arguments = asyncpg_address(fresh.direct)
    engine = create_async_engine(url, connect_args=arguments)
    async with engine.connect() as connection:
        yield connection
    await engine.dispose()


async def structure(connection: AsyncConnection) -> set[tuple[str, str, str]]:
    rows = (await connection.execute(STRUCTURE)).all()
    # The last look must not hold the next migration up.
    await connection.rollback()
    return {tuple(row) for row in rows}


def drift(connection: Connection) -> list[object]:
    options = {"compare_type": True, "compare_server_default": True}
    return list(compare_metadata(MigrationContext.configure(connection, opts=options), metadata))


def test_there_is_one_newest_migration() -> None:
    config = Config()
    config.set_main_option("script_location", str(migrations_folder()))
    assert ScriptDirectory.from_config(config).get_heads() == [head_revision()]


async def test_there_and_back_and_there_again(fresh: Urls, owner: AsyncConnection) -> None:
    before = await structure(owner)
    assert await current_revision(owner) == head_revision()
    await owner.rollback()
    await asyncio.to_thread(downgrade, fresh.direct, "base")
    assert {table for _, table, _ in await structure(owner)} == {"alembic_version"}
    await asyncio.to_thread(upgrade, fresh.direct)
    assert await structure(owner) == before


ERASED = """
INSERT INTO messages (tenant_id, id, direction, status, channel, route, to_masked, to_sealed, to_hash, content_sealed,
    erased_at) SELECT id, gen_random_uuid(), 'OUTBOUND', 'SENT', 'SMS', '[]', '••••', {to}, {to}, {content}, {erased_at}
    FROM tenants LIMIT 1
"""
LOST = text("SELECT to_sealed, to_hash, content_sealed, erased_at IS NOT NULL FROM messages ORDER BY to_sealed")


async def test_what_was_erased_is_still_known_to_be_after_going_back_and_coming_again(
    fresh: Urls, owner: AsyncConnection
) -> None:
    kept = {"to": "'t'", "content": "'c'", "erased_at": "NULL"}
    gone = {"content": "NULL", "erased_at": "now()"}
    for row in (kept, kept | gone, gone | {"to": "NULL"}):
        await owner.execute(text(ERASED.format(**row)))
    before = (await owner.execute(LOST)).all()
    await owner.commit()
    await asyncio.to_thread(downgrade, fresh.direct, "0008")
    await asyncio.to_thread(upgrade, fresh.direct)
    after = (await owner.execute(LOST)).all()
    assert sorted(map(str, after)) == sorted(map(str, before))
    assert sorted(row[3] for row in after) == [False, True, True]


async def test_going_up_twice_changes_nothing(fresh: Urls, owner: AsyncConnection) -> None:
    before = await structure(owner)
    await asyncio.to_thread(upgrade, fresh.direct)
    assert await structure(owner) == before


async def test_the_migrations_make_what_the_tables_say(owner: AsyncConnection) -> None:
    assert await owner.run_sync(drift) == []


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE messages ADD COLUMN mood text",
        "ALTER TABLE messages ALTER COLUMN step TYPE bigint",
        "ALTER TABLE messages ALTER COLUMN failure SET NOT NULL",
        "DROP INDEX ix_messages_due",
        "ALTER TABLE messages ALTER COLUMN step SET DEFAULT 1",
        "CREATE TABLE moods (id uuid)",
    ],
)
async def test_drift_would_be_noticed(owner: AsyncConnection, change: str) -> None:
    await owner.execute(text(change))
    assert len(await owner.run_sync(drift)) == 1


@pytest.mark.parametrize("table", sorted(metadata.tables.keys() - SHARED_TABLES))
def test_every_key_begins_with_the_tenant(table: str) -> None:
    assert next(iter(metadata.tables[table].primary_key.columns)).name == "tenant_id"


def test_no_table_escapes_by_a_column_of_its_own() -> None:
    assert all("tenant_id" not in metadata.tables[name].columns for name in SHARED_TABLES)
