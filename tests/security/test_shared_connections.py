"""Shared connections: the tenants of one transaction are forgotten at its end."""

import ast
import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID, uuid4

import asyncpg
import pytest
from sqlalchemy import text

from core.database import Database, make_engine
from core.ports.identity import DEFAULT_TENANT
from tests.databases import Urls
from tests.house.sources import ROOT, SRC, sources
from tests.pooler import behind_a_pooler, needs_pooler

OTHER_TENANT = uuid4()


@pytest.fixture
async def addresses(urls: Urls) -> None:
    """One address of each of two tenants."""
    owner = await asyncpg.connect(urls.direct)
    await owner.execute("INSERT INTO tenants VALUES ($1, 'other', 'Other', 'UTC', 'BRL')", OTHER_TENANT)
    for tenant in (DEFAULT_TENANT, OTHER_TENANT):
        await owner.execute("INSERT INTO senders VALUES ($1, 'twilio', $2)", tenant, tenant.hex)
    await owner.close()


@pytest.fixture
async def pooled(urls: Urls, tmp_path: Path) -> AsyncIterator[Urls]:
    async with behind_a_pooler(urls, tmp_path, connections=1) as found:
        yield found


async def seen(database: Database, *named: UUID) -> set[UUID]:
    async with database.transaction(*named) as connection:
        return set((await connection.execute(text("SELECT tenant_id FROM senders"))).scalars())


async def taking_turns(*databases: Database) -> None:
    """Two tenants and no tenant, alternating and all at once: each sees its own."""
    turns = [(), (DEFAULT_TENANT,), (OTHER_TENANT,), (DEFAULT_TENANT, OTHER_TENANT)]
    asked = [(database, turns[number % 4]) for number in range(20) for database in databases]
    assert [await seen(database, *turn) for database, turn in asked] == [set(turn) for _, turn in asked]
    answers = await asyncio.gather(*(seen(database, *turn) for database, turn in asked))
    assert answers == [set(turn) for _, turn in asked]


async def test_tenants_that_share_a_connection_do_not_see_each_other(urls: Urls, addresses: None) -> None:
    database = Database(make_engine(urls.app, pool_size=1))
    await taking_turns(database)
    await database.close()


async def test_a_transaction_that_broke_off_leaves_nothing_behind(urls: Urls, addresses: None) -> None:
    database = Database(make_engine(urls.app, pool_size=1))
    for statement in ("SELEKT 1", "SELECT 1/0", "SELECT 1"):
        with pytest.raises(Exception):  # noqa: B017  # whatever ends it
            async with database.transaction(OTHER_TENANT) as connection:
                await connection.execute(text(statement))
                raise KeyError
        assert await seen(database) == set()
        async with database.engine.connect() as connection:
            assert (await connection.execute(text("SELECT tenant_id FROM senders"))).all() == []
    await database.close()


@needs_pooler
async def test_tenants_that_share_a_pooler_do_not_see_each_other(pooled: Urls, addresses: None) -> None:
    """Two processes over one connection to the server."""
    databases = [Database(make_engine(pooled.app, prepared_statements=False, pool_size=4)) for _ in range(2)]
    await taking_turns(*databases)
    for database in databases:
        await database.close()


def test_tenants_are_named_in_one_place_and_for_one_transaction() -> None:
    """A setting of the session would be the next client's, and `set_config(…, false)` makes one."""
    setting = re.compile(r"set_config.*|\bSET\s+(?!LOCAL\b)(?:SESSION\s+)?app\..*", re.IGNORECASE)
    files = [*SRC.rglob("*.py"), *(ROOT / "migrations").rglob("*.py")]
    found = [(path.name, words) for path in files for words in setting.findall(path.read_text())]
    assert found == [("database.py", """set_config('app.tenants', '{tenants}', true)\"""")]


def test_no_resolver_opens_a_transaction_without_a_tenant() -> None:
    nameless = [
        f"{source.name}:{node.lineno}"
        for source in sources()
        if source.name.startswith("resolvers/")
        for node in ast.walk(source.tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "transaction"
        and not node.args
    ]
    assert nameless == []
