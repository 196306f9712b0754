"""The tenant filter taken out of every statement: row-level security still hides what is not the caller's."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import asyncpg
import pytest
from sqlalchemy import event

from api.bootstrap import App
from tests.apps import house_over
from tests.databases import SharedStores, Urls
from tests.graph.callers import Caller
from tests.graph.factories import RecordFactory
from tests.security.belongings import Belongings
from tests.security.operations import OperationBuilder
from tests.security.tables import tenant_tables

# What is sealed is sealed for its tenant, and cannot be opened for another: a third lock, not looked at here.
pytestmark = pytest.mark.slow
SEALED = frozenset({"content", "to", "from", "payload"})
# What a repository says of the tenant, as it reaches the driver; with this behind it, it says nothing.
FILTER = re.compile(r"\b(\w+\.)?tenant_id = \$\d+(::UUID)?")


@pytest.fixture(scope="module")
async def graph_urls(stores: SharedStores) -> AsyncIterator[Urls]:
    """A database of this file's own: its policies are taken away here."""
    async with stores.database() as urls:
        yield urls


@pytest.fixture(scope="module")
async def house(graph_urls: Urls) -> AsyncIterator[App]:
    built = house_over(graph_urls)
    yield built
    await built.close()


@pytest.fixture(scope="module")
async def owner(graph_urls: Urls) -> AsyncIterator[asyncpg.Pool]:
    async with asyncpg.create_pool(graph_urls.direct, min_size=0, max_size=2) as pool:
        yield pool


@contextmanager
def without_filters(house: App) -> Iterator[list[str]]:
    """Let every statement forget whose rows it is about; tells which did."""
    forgetful: list[str] = []

    def forget(_conn: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> tuple[str, Any]:
        changed = FILTER.sub(lambda found: f"({found.group()} OR true)", statement)
        if changed != statement:
            forgetful.append(changed)
        return changed, parameters

    engine = house.database.engine.sync_engine
    event.listen(engine, "before_cursor_execute", forget, retval=True)
    try:
        yield forgetful
    finally:
        event.remove(engine, "before_cursor_execute", forget)


@asynccontextmanager
async def without_policies(owner: asyncpg.Pool) -> AsyncIterator[None]:
    async with owner.acquire() as connection:
        tables = [table.name for table in await tenant_tables(connection)]
        await connection.execute(";".join(f"ALTER TABLE {one} DISABLE ROW LEVEL SECURITY" for one in tables))
        yield
        await connection.execute(";".join(f"ALTER TABLE {one} ENABLE ROW LEVEL SECURITY" for one in tables))


def reads(asker: OperationBuilder, theirs: Belongings) -> list[tuple[str, dict[str, Any]]]:
    """Every query there is: lists as they are, and each argument that takes an id with every id of somebody else's."""

    def document(name: str) -> str:
        return asker.document("query", name, without=SEALED)

    doors = [door for door in asker.doors() if door.operation == "query"]
    lists: list[tuple[str, dict[str, Any]]] = [(document(name), {}) for name in asker.lists()]
    return lists + [(document(door.field), asker.variables(door, id)) for door in doors for id in theirs.every]


async def seen(asker: OperationBuilder, somebody: Caller, theirs: Belongings) -> set[str]:
    """Which of somebody else's ids anybody is shown, by any query."""
    told = [
        json.dumps((await somebody.answer(document, **variables)).data, default=str)
        for document, variables in reads(asker, theirs)
    ]
    return {id for id in theirs.every if any(f'"{id}"' in one for one in told)}


async def test_without_the_filter_nothing_of_others_is_shown(
    asker: OperationBuilder, house: App, stranger: Caller, theirs: Belongings
) -> None:
    with without_filters(house) as forgetful:
        assert await seen(asker, stranger, theirs) == set()
    tables = set(re.findall(r"FROM (\w+)", " ".join(forgetful)))
    assert tables >= {"messages", "message_events", "attempts", "templates", "inbox", "dead_letters", "message_batches"}


async def test_without_the_filter_nothing_of_others_is_followed(
    asker: OperationBuilder, house: App, caller: Caller, stranger: Caller, theirs: Belongings, stock: RecordFactory
) -> None:
    [door] = [one for one in asker.doors() if one.operation == "subscription" and one.path[-1] == "ids"]
    document = asker.document(door.operation, door.field, without=SEALED)
    with without_filters(house):
        # Named, and with everything there is; nobody brings hints in this house: it looks for itself each second.
        for id in theirs.ids["Message"]:
            [error] = (await stranger.follow(document, **asker.variables(door, id)).answer()).errors
            assert error["extensions"]["code"] == "NOT_FOUND"
        silent = [asyncio.create_task(stranger.follow(document).is_silent(2.5))]
        own = caller.follow(document, **asker.variables(door, theirs.ids["Message"][0]))
        await own.next()
        await stock.change(caller, theirs.messages[0], "SENT", "QUEUED")
        await own.next()
        await own.close()
        assert await asyncio.gather(*silent) == [True]


async def test_without_policies_the_filter_alone_hides_it_too(
    asker: OperationBuilder, stranger: Caller, theirs: Belongings, owner: asyncpg.Pool
) -> None:
    async with without_policies(owner):
        assert await seen(asker, stranger, theirs) == set()


async def test_without_both_everything_is_shown(
    asker: OperationBuilder, house: App, stranger: Caller, theirs: Belongings, owner: asyncpg.Pool
) -> None:
    """So what is taken away above are the two things that hide it."""
    # Another's organisation is not even asked for: its id is the tenant's own. test_tables.py looks at its policy.
    asked_for = set(theirs.every) - set(theirs.ids["Organization"])
    async with without_policies(owner):
        with without_filters(house):
            assert await seen(asker, stranger, theirs) == asked_for
