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
from tests.apps import build_application
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
async def application(graph_urls: Urls) -> AsyncIterator[App]:
    built = build_application(graph_urls)
    yield built
    await built.close()


@pytest.fixture(scope="module")
async def owner(graph_urls: Urls) -> AsyncIterator[asyncpg.Pool]:
    async with asyncpg.create_pool(graph_urls.direct, min_size=0, max_size=2) as pool:
        yield pool


@contextmanager
def without_filters(application: App) -> Iterator[list[str]]:
    """Remove the tenant filter from every statement; records which had one."""
    forgetful: list[str] = []

    def forget(_conn: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> tuple[str, Any]:
        changed = FILTER.sub(lambda found: f"({found.group()} OR true)", statement)
        if changed != statement:
            forgetful.append(changed)
        return changed, parameters

    engine = application.database.engine.sync_engine
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


def reads(operations: OperationBuilder, theirs: Belongings) -> list[tuple[str, dict[str, Any]]]:
    """Every query there is: lists as they are, and each argument that takes an id with every foreign id."""

    def document(name: str) -> str:
        return operations.document("query", name, without=SEALED)

    targets = [target for target in operations.targets() if target.operation == "query"]
    lists: list[tuple[str, dict[str, Any]]] = [(document(name), {}) for name in operations.lists()]
    return lists + [
        (document(target.field), operations.variables(target, id)) for target in targets for id in theirs.every
    ]


async def seen(operations: OperationBuilder, somebody: Caller, theirs: Belongings) -> set[str]:
    """Which foreign ids are shown by any query."""
    told = [
        json.dumps((await somebody.answer(document, **variables)).data, default=str)
        for document, variables in reads(operations, theirs)
    ]
    return {id for id in theirs.every if any(f'"{id}"' in one for one in told)}


async def test_without_the_filter_nothing_of_others_is_shown(
    operations: OperationBuilder, application: App, stranger: Caller, theirs: Belongings
) -> None:
    with without_filters(application) as forgetful:
        assert await seen(operations, stranger, theirs) == set()
    tables = set(re.findall(r"FROM (\w+)", " ".join(forgetful)))
    assert tables >= {"messages", "message_events", "attempts", "templates", "inbox", "dead_letters", "message_batches"}


async def test_without_the_filter_nothing_of_others_is_followed(
    operations: OperationBuilder,
    application: App,
    caller: Caller,
    stranger: Caller,
    theirs: Belongings,
    factory: RecordFactory,
) -> None:
    [target] = [one for one in operations.targets() if one.operation == "subscription" and one.path[-1] == "ids"]
    document = operations.document(target.operation, target.field, without=SEALED)
    with without_filters(application):
        # With a filter for everything there is; no hints arrive here: the feed polls each second.
        for id in theirs.ids["Message"]:
            [error] = (await stranger.follow(document, **operations.variables(target, id)).answer()).errors
            assert error["extensions"]["code"] == "NOT_FOUND"
        silent = [asyncio.create_task(stranger.follow(document).is_silent(2.5))]
        own = caller.follow(document, **operations.variables(target, theirs.ids["Message"][0]))
        await own.next()
        await factory.status_change(caller, theirs.messages[0], "SENT", "QUEUED")
        await own.next()
        await own.close()
        assert await asyncio.gather(*silent) == [True]


async def test_without_policies_the_filter_alone_hides_it_too(
    operations: OperationBuilder, stranger: Caller, theirs: Belongings, owner: asyncpg.Pool
) -> None:
    async with without_policies(owner):
        assert await seen(operations, stranger, theirs) == set()


async def test_without_both_everything_is_shown(
    operations: OperationBuilder, application: App, stranger: Caller, theirs: Belongings, owner: asyncpg.Pool
) -> None:
    """So what is taken away above are the two things that hide it."""
    # Another's organisation is not even asked for: its id is the tenant's own. test_tables.py looks at its policy.
    asked_for = set(theirs.every) - set(theirs.ids["Organization"])
    async with without_policies(owner):
        with without_filters(application):
            assert await seen(operations, stranger, theirs) == asked_for
