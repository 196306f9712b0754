"""The web application over a database of its own, asked in process."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import asyncpg
import httpx
import pytest

from api.app import create_app
from api.bootstrap import House
from api.health import Readiness
from tests.conftest import Running, Urls
from tests.graph.houses import house_over

NOWHERE_DATABASE = "postgresql://app@127.0.0.1:9/app"
NOWHERE_REDIS = "redis://127.0.0.1:9/0"

Serving = Callable[..., AbstractAsyncContextManager[httpx.AsyncClient]]


@asynccontextmanager
async def client_of(house: House, readiness: Readiness | None = None) -> AsyncIterator[httpx.AsyncClient]:
    """Ask a house's application; the name it is called by is not its public one."""
    transport = httpx.ASGITransport(create_app(house, readiness or Readiness(house)))
    async with httpx.AsyncClient(transport=transport, base_url="http://10.0.0.7:8000") as client:
        yield client


@pytest.fixture(scope="session")
async def edge_urls(stores: Running) -> AsyncIterator[Urls]:
    async with stores.database() as urls:
        yield urls


@pytest.fixture(scope="session")
async def house(edge_urls: Urls) -> AsyncIterator[House]:
    built = house_over(edge_urls)
    yield built
    await built.close()


@pytest.fixture(scope="session")
async def client(house: House) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(house) as found:
        yield found


@pytest.fixture(scope="session")
async def owner(edge_urls: Urls) -> AsyncIterator[asyncpg.Pool]:
    async with asyncpg.create_pool(edge_urls.direct, min_size=0, max_size=2) as pool:
        yield pool


@pytest.fixture
def serving(edge_urls: Urls) -> Serving:
    """Serve a house like the others, but for some variables of its environment."""

    @asynccontextmanager
    async def serve(**changes: str) -> AsyncIterator[httpx.AsyncClient]:
        other = house_over(edge_urls, **changes)
        try:
            async with client_of(other) as found:
                yield found
        finally:
            await other.close()

    return serve


@pytest.fixture
def bearer(house: House) -> dict[str, str]:
    assert house.tokens is not None
    return {"authorization": f"Bearer {house.tokens.make()}"}
