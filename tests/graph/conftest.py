"""The application without a worker over one database, and callers: every test has tenants of its own."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from uuid import uuid4

import asyncpg
import pytest

from api.bootstrap import App
from core.ports.identity import Principal, Scope
from engine.engine import Engine
from resolvers.errors import translate
from resolvers.schema import build_schema
from tests.apps import build_application
from tests.databases import SharedStores, Urls
from tests.graph.callers import Caller, NewCaller
from tests.graph.factories import RecordFactory


@pytest.fixture(scope="session")
async def graph_urls(stores: SharedStores) -> AsyncIterator[Urls]:
    async with stores.database() as urls:
        yield urls


@pytest.fixture(scope="session")
async def application(graph_urls: Urls) -> AsyncIterator[App]:
    """The application, which receives hints as a server does."""
    built = build_application(graph_urls)
    hearing = asyncio.create_task(built.hub.run())
    yield built
    hearing.cancel()
    with suppress(asyncio.CancelledError):
        await hearing
    await built.close()


@pytest.fixture(scope="session")
def engine() -> Engine:
    return Engine(build_schema()._schema, translate=translate)


@pytest.fixture(scope="session")
async def owner(graph_urls: Urls) -> AsyncIterator[asyncpg.Pool]:
    """Connections that may do to the tables what only time or a worker does."""
    async with asyncpg.create_pool(graph_urls.direct, min_size=0, max_size=4) as pool:
        yield pool


@pytest.fixture
def new_caller(application: App, engine: Engine, owner: asyncpg.Pool) -> NewCaller:
    """Make a tenant and a caller for it."""

    async def make(scopes: frozenset[Scope] = frozenset(Scope)) -> Caller:
        tenant = uuid4()
        await owner.execute("INSERT INTO tenants VALUES ($1, $2, 'Another', 'UTC', 'EUR')", tenant, tenant.hex)
        return Caller(application, engine, Principal(tenant, "test", scopes))

    return make


@pytest.fixture
async def caller(new_caller: NewCaller) -> Caller:
    return await new_caller()


@pytest.fixture
async def stranger(new_caller: NewCaller) -> Caller:
    """A caller of another tenant, with every scope there."""
    return await new_caller()


@pytest.fixture
def factory(application: App, owner: asyncpg.Pool) -> RecordFactory:
    return RecordFactory(owner, application.sealer)


@pytest.fixture
def anonymous(application: App, engine: Engine) -> Caller:
    return Caller(application, engine, None)
