"""A real server on loopback for an application under test."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from types import ModuleType
from typing import Any

import uvicorn
from litestar import Litestar


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
    await wait_until(lambda: server.started)
    try:
        yield server, host
    finally:
        server.should_exit = True
        await serve


async def wait_until(condition: Callable[[], bool], within: float = 5.0) -> None:
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
