"""The web application over a database of its own, called in process."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import httpx
import pytest

from api.bootstrap import App
from tests.apps import build_application
from tests.databases import SharedStores, Urls
from tests.edge.factories import Serving, client_of


@pytest.fixture(scope="session")
async def edge_urls(stores: SharedStores) -> AsyncIterator[Urls]:
    async with stores.database() as urls:
        yield urls


@pytest.fixture(scope="session")
async def application(edge_urls: Urls) -> AsyncIterator[App]:
    built = build_application(edge_urls)
    yield built
    await built.close()


@pytest.fixture(scope="session")
async def client(application: App) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(application) as found:
        yield found


@pytest.fixture(scope="session")
async def owner(edge_urls: Urls) -> AsyncIterator[asyncpg.Pool]:
    async with asyncpg.create_pool(edge_urls.direct, min_size=0, max_size=2) as pool:
        yield pool


@pytest.fixture
def serving(edge_urls: Urls) -> Serving:
    """Serve an application like the others, with some other settings."""

    @asynccontextmanager
    async def serve(**changes: str) -> AsyncIterator[httpx.AsyncClient]:
        other = build_application(edge_urls, **changes)
        try:
            async with client_of(other) as found:
                yield found
        finally:
            await other.close()

    return serve


@pytest.fixture
def bearer(application: App) -> dict[str, str]:
    assert application.tokens is not None
    return {"authorization": f"Bearer {application.tokens.make()}"}
