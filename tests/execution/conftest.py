"""The engine over the sample schema, and a real server for it on loopback."""

from collections.abc import AsyncIterator

import httpx
import pytest
from litestar import Litestar

from api.http.graphql import routes
from engine.engine import Engine
from tests.execution.sample import Journal, edge_over, schema, translate
from tests.execution.servers import serving


@pytest.fixture
def engine() -> Engine:
    return Engine(schema, translate=translate, time_limit=0.5)


@pytest.fixture(scope="session")
def journal_of_the_server() -> Journal:
    return Journal()


@pytest.fixture(scope="session")
async def host(journal_of_the_server: Journal) -> AsyncIterator[str]:
    """Where the sample is served, as host and port."""
    engine = Engine(schema, translate=translate, time_limit=0.5)
    app = Litestar(routes(edge_over(engine, journal_of_the_server)), openapi_config=None, logging_config=None)
    async with serving(app) as (_, host):
        yield host


@pytest.fixture
def journal(journal_of_the_server: Journal) -> Journal:
    """What happens inside the server during one test."""
    journal_of_the_server.opened = journal_of_the_server.closed = 0
    journal_of_the_server.names.clear()
    journal_of_the_server.contexts.clear()
    journal_of_the_server.expiries.clear()
    journal_of_the_server.refused.clear()
    return journal_of_the_server


@pytest.fixture
async def client(host: str, journal: Journal) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=f"http://{host}", timeout=5) as client:
        yield client
