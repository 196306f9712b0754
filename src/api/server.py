"""Serving the application with uvicorn, until told to end."""

import asyncio
import signal
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType

import uvicorn

from api.app import create_app
from api.bootstrap import build_house
from api.collector import settle_collector
from api.configuration import Configuration
from api.doorstep.protocol import PatientlessProtocol
from api.health import Readiness

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
    house = build_house(configuration)
    readiness = Readiness(house)
    config = uvicorn.Config(
        create_app(house, readiness),
        host=host,
        port=port,
        http=PatientlessProtocol,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        ws="websockets-sansio",
        ws_max_size=house.settings.socket_frame_limit,
        ws_per_message_deflate=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=DRAIN_SECONDS,
    )
    settle_collector()
    notice = NOTICE_SECONDS if house.settings.is_production else 0.0
    await DrainingServer(config, readiness, notice=notice).serve()


def run(configuration: Configuration, *, host: str, port: int) -> None:
    """Serve in an event loop of its own."""
    asyncio.run(serve(configuration, host=host, port=port))
