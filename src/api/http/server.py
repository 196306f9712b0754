"""Serving the application with uvicorn: a strict HTTP/1.1 protocol, and an orderly end."""

import asyncio
import signal
import sys
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType
from typing import Any, cast

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from api.bootstrap import build_app
from api.configuration import Configuration
from api.http.app import create_asgi_app
from api.http.health import Readiness
from api.http.limits import LARGEST_HEAD
from api.process import tune_garbage_collector

HEAD_SECONDS = 10.0
"""How long the first line and the headers of a request may take to arrive, from the first byte or the connection on."""


class StrictHttpProtocol(HttpToolsProtocol):
    """Ends connections whose request has not begun in time; the server's own clock runs only between requests."""

    _waiting: asyncio.TimerHandle | None = None
    _is_in_head = False
    _has_got_on = False
    _idly = 0
    _size = 0
    _running: RequestResponseCycle | None = None
    _may_upgrade = False
    _is_deaf = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Expect a request soon."""
        super().connection_made(cast("asyncio.Transport", transport))
        self._expect()

    def data_received(self, data: bytes) -> None:
        """Read on; a head that is still not whole keeps the time it began with."""
        if self._is_deaf:
            return
        self._has_got_on, self._size = False, len(data)
        super().data_received(data)
        if self._is_deaf or self.transport.is_closing() or self.transport.get_protocol() is not self:
            return
        self._idly = 0 if self._has_got_on else self._idly + len(data)
        if self._idly > LARGEST_HEAD:
            # A head, the trailers after a body, or what stands beside the length of a chunk.
            self.send_400_response("Longer than any client needs.")
        elif self._waiting is None and (self._is_in_head or not self._is_busy()):
            self._expect()

    def connection_lost(self, exc: Exception | None) -> None:
        """Expect nothing any more."""
        self._forget()
        super().connection_lost(exc)
        # Where others wait behind the request that is being answered, uvicorn tells only the last of them.
        if self._running is not None and not self._running.response_complete:
            self._running.disconnected = True
            self._running.message_event.set()

    def handle_websocket_upgrade(self) -> None:
        """Hand over a socket; what the other side cannot read as a handshake it neither answers nor ends."""
        super().handle_websocket_upgrade()
        sans_io = getattr(self.transport.get_protocol(), "conn", None)
        if getattr(sans_io, "handshake_exc", None) is not None and not self.transport.is_closing():
            self.send_400_response("This is no handshake of a WebSocket.")

    def send_400_response(self, msg: str) -> None:
        """Refuse what cannot be read; a request before it, that was whole, has its own answer still to come."""
        running = self._running
        if running is None or running.response_complete:
            super().send_400_response(msg)
        elif not running.more_body:
            self._is_deaf, running.keep_alive = True, False
            self.pipeline.clear()
            self._forget()
        elif running.response_started:
            self.transport.close()
        else:
            super().send_400_response(msg)

    def on_message_begin(self) -> None:
        """Take the first byte of a head; how much stood before it in the same piece is unknown."""
        self._is_in_head = self._has_got_on = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Take the end of a head."""
        self._is_in_head, self._has_got_on = False, True
        self._forget()
        version = self.parser.get_http_version()
        hosts = sum(name == b"host" for name, _ in self.headers)
        if version not in ("1.0", "1.1") or hosts > 1 or (hosts == 0 and version == "1.1"):
            raise ValueError("A request is for one host, and in HTTP/1.")
        # A connection with an answer still on its way, or with a body before the first frame, stays what it is.
        self._may_upgrade = self.parser.get_method() == b"GET" and not self._is_busy()
        super().on_headers_complete()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a line of a head. Behind a body it counts for nothing: proxies look only at what stands before it."""
        if self._is_in_head:
            super().on_header(name, value)

    def on_body(self, body: bytes) -> None:
        """Take a piece of a body."""
        self._has_got_on = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Take the end of a body."""
        self._has_got_on = True
        super().on_message_complete()

    def _should_upgrade(self) -> bool:
        return self._may_upgrade and super()._should_upgrade()

    def _unsupported_upgrade_warning(self) -> None:
        # The parser stopped, and uvicorn drops what stands behind in the same piece: what followed would be misread.
        stopped = sys.exception()
        if stopped is not None and stopped.args[0] < self._size:
            self.cycle.keep_alive, self._is_deaf = False, True
            if self.cycle.response_complete:
                self.transport.close()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def _is_busy(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _expect(self) -> None:
        self._waiting = self.loop.call_later(HEAD_SECONDS, self._give_up)

    def _forget(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None

    def _give_up(self) -> None:
        self._waiting = None
        if not self.transport.is_closing():
            self.transport.close()


# Serving the application with uvicorn until it is stopped.


DRAIN_SECONDS = 20
"""How long what was begun may take to end."""
NOTICE_SECONDS = 3.0
"""How long production goes on answering "not ready" before it stops listening: load balancers need a moment."""
KEEP_ALIVE_SECONDS = 75
"""How long an idle connection is kept: longer than load balancers (60) and clients keep theirs, so that the end that
closes first is never the one a request is just being sent to."""
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class DrainingServer(uvicorn.Server):
    """Says "not ready" from the moment it is told to end, gives notice, then finishes what it has begun.

    Ending as told is success: unlike uvicorn's own, it does not raise the signal again afterwards.
    """

    def __init__(self, config: uvicorn.Config, readiness: Readiness, *, notice: float) -> None:
        super().__init__(config)
        self._readiness = readiness
        self._notice = notice

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            loop.add_signal_handler(number, self.handle_exit, number, None)
        try:
            yield
        finally:
            for number in _SIGNALS:
                loop.remove_signal_handler(number)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self._readiness.draining.is_set():
            # Told twice: no more notice, and for Ctrl-C no more patience.
            super().handle_exit(sig, frame)
            return
        self._readiness.draining.set()
        asyncio.get_running_loop().call_later(self._notice, super().handle_exit, sig, frame)


async def serve(configuration: Configuration, *, host: str, port: int) -> None:
    """Serve until a signal; raises NotReady when the configuration does not suffice."""
    app = build_app(configuration)
    readiness = Readiness(app)
    config = uvicorn.Config(
        create_asgi_app(app, readiness),
        host=host,
        port=port,
        http=StrictHttpProtocol,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        ws="websockets-sansio",
        ws_max_size=app.settings.socket_frame_limit,
        ws_per_message_deflate=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=DRAIN_SECONDS,
    )
    tune_garbage_collector()
    notice = NOTICE_SECONDS if app.settings.is_production else 0.0
    await DrainingServer(config, readiness, notice=notice).serve()


def run(configuration: Configuration, *, host: str, port: int) -> None:
    """Serve in an event loop of its own."""
    asyncio.run(serve(configuration, host=host, port=port))
