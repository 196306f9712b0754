"""A house served as `interalpha serve` does, and bytes as no client library would send them."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import uvicorn

from api.app import create_app
from api.doorstep.door import Doorstep
from api.doorstep.protocol import PatientlessProtocol
from api.health import Readiness
from tests.conftest import Urls
from tests.execution.conftest import LoopbackServer, eventually
from tests.graph.houses import house_over

ENDLESS = 32 * 1024 * 1024
"""Bytes after which a test would say that a body is read without end."""


@asynccontextmanager
async def serving(urls: Urls, **changes: str) -> AsyncIterator[tuple[Doorstep, int]]:
    """Serve a house as `interalpha serve` does; gives its port."""
    house = house_over(urls, **changes)
    app = create_app(house, Readiness(house))
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        app,
        http=PatientlessProtocol,
        ws="websockets-sansio",
        log_config=None,
        timeout_graceful_shutdown=1,
    )
    server = LoopbackServer(config)
    serve = asyncio.create_task(server.serve(sockets=[listener]))
    await eventually(lambda: server.started)
    try:
        yield app, listener.getsockname()[1]
    finally:
        server.should_exit = True
        await serve
        await house.close()


async def talk(
    port: int, first: bytes, more: Callable[[], bytes] | None = None, pause: float = 0.0, within: float = 5.0
) -> tuple[bytes, int]:
    """Send some bytes, then more until the server hangs up; gives what it said, and how much it let us send."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    sent = 0

    async def send() -> None:
        nonlocal sent
        try:
            writer.write(first)
            while more is not None and sent < ENDLESS:
                piece = more()
                writer.write(piece)
                await writer.drain()
                sent += len(piece)
                await asyncio.sleep(pause)
        except (ConnectionError, OSError):
            return

    sending = asyncio.create_task(send())
    said = b""
    try:
        async with asyncio.timeout(within):
            while piece := await reader.read(65_536):
                said += piece
    except ConnectionError:
        pass
    finally:
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        writer.close()
    return said, sent


def head(method: str, path: str, *lines: str) -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/1.1", "host: 127.0.0.1", *lines, "", ""]).encode()


def status(said: bytes) -> int:
    return int(said.split(b" ", 2)[1]) if said else 0
