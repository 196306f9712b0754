"""The engine over the sample schema, and a real server for it on loopback."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from types import ModuleType
from typing import Any

import httpx
import pytest
import uvicorn
from litestar import Litestar

from api.graphql import routes
from engine.engine import Engine
from tests.execution.sample import Journal, edge_over, schema, translate


class LoopbackServer(uvicorn.Server):
    """A server that leaves the signals to pytest."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@asynccontextmanager
async def serving(app: Litestar) -> AsyncIterator[tuple[LoopbackServer, str]]:
    """Serve an application on a free port; gives the server and its host and port."""
    listener = socket.create_server(("127.0.0.1", 0))
    host = f"127.0.0.1:{listener.getsockname()[1]}"
    server = LoopbackServer(uvicorn.Config(app, log_config=None, timeout_graceful_shutdown=1))
    serve = asyncio.create_task(server.serve(sockets=[listener]))
    await eventually(lambda: server.started)
    try:
        yield server, host
    finally:
        server.should_exit = True
        await serve


async def eventually(condition: Callable[[], bool], within: float = 5.0) -> None:
    """Wait until something has come true."""
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        await asyncio.sleep(0.005)


def tasks_of(module: ModuleType) -> list[asyncio.Task[Any]]:
    """Find the tasks that run a coroutine of a module just now."""
    return [task for task in asyncio.all_tasks() if _file_of(task.get_coro()) == module.__file__]


def _file_of(coroutine: Any) -> str:
    return str(coroutine.cr_code.co_filename)


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
