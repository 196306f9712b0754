"""The application served as `interalpha serve` does, and requests as raw bytes."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import uvicorn
from litestar import Litestar
from litestar.routes import ASGIRoute, HTTPRoute
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosedError

from api.http.app import create_asgi_app
from api.http.health import Readiness
from api.http.limits import LimitsMiddleware
from api.http.server import StrictHttpProtocol
from core.access.sessions import DevelopmentTokens
from tests.apps import build_application
from tests.databases import Urls
from tests.execution.servers import LoopbackServer, wait_until

SEND_LIMIT = 32 * 1024 * 1024
"""Bytes after which a test would say that a body is read without end."""


@asynccontextmanager
async def serving(urls: Urls, **changes: str) -> AsyncIterator[tuple[LimitsMiddleware, int]]:
    """Serve an application as `interalpha serve` does; gives its port."""
    application = build_application(urls, **changes)
    app = create_asgi_app(application, Readiness(application))
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        app,
        http=StrictHttpProtocol,
        ws="websockets-sansio",
        log_config=None,
        timeout_graceful_shutdown=1,
    )
    server = LoopbackServer(config)
    serve = asyncio.create_task(server.serve(sockets=[listener]))
    await wait_until(lambda: server.started)
    try:
        yield app, listener.getsockname()[1]
    finally:
        server.should_exit = True
        await serve
        await application.close()


async def exchange_bytes(
    port: int, first: bytes, more: Callable[[], bytes] | None = None, pause: float = 0.0, within: float = 5.0
) -> tuple[bytes, int]:
    """Send some bytes, then more until the server hangs up; gives what it said, and how much it let us send."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    sent = 0

    async def send() -> None:
        nonlocal sent
        try:
            writer.write(first)
            while more is not None and sent < SEND_LIMIT:
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


def request_head(method: str, path: str, *lines: str) -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/1.1", "host: 127.0.0.1", *lines, "", ""]).encode()


def status_code(said: bytes) -> int:
    return int(said.split(b" ", 2)[1]) if said else 0


BAD_TOKEN = {"authorization": "Bearer nonsense"}


GOOD_TOKEN = {"authorization": f"Bearer {DevelopmentTokens(b'k' * 32).make()}"}


def paths_of(app: LimitsMiddleware) -> list[str]:
    """Every route there is, and one there is not."""
    assert isinstance(app.app, Litestar)
    routes = [route.path for route in app.app.routes if isinstance(route, HTTPRoute | ASGIRoute)]
    filled = [path.replace("{name:str}", "twilio") for path in routes]
    assert not [path for path in filled if "{" in path]
    return [*filled, "/nowhere", "/graphql/nowhere"]


async def socket_close_code(port: int, forged: str) -> int:
    """The code a socket is closed with; 0 where it was acknowledged."""
    async with connect(f"ws://127.0.0.1:{port}/graphql", subprotocols=["graphql-transport-ws"]) as socket:  # type: ignore[list-item]
        payload = {"authorization": f"Bearer {forged}"}
        await socket.send(json.dumps({"type": "connection_init", "payload": payload}))
        try:
            assert json.loads(await socket.recv())["type"] == "connection_ack"
        except ConnectionClosedError:
            assert forged not in str(socket.close_reason)
            return socket.close_code or 1006
        return 0
