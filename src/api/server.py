"""Serving the application with uvicorn, until told to end."""

import asyncio

import uvicorn

from api.app import create_app
from api.bootstrap import build_house
from api.configuration import Configuration
from api.health import Readiness

DRAIN_SECONDS = 20
_FRAME_LIMIT = 262_144


class DrainingServer(uvicorn.Server):
    """Says "not ready" from the moment it is told to end, while it finishes what it has begun."""

    def __init__(self, config: uvicorn.Config, readiness: Readiness) -> None:
        super().__init__(config)
        self._readiness = readiness

    async def shutdown(self, sockets: "list[object] | None" = None) -> None:  # type: ignore[override]
        await super().shutdown(sockets)  # type: ignore[arg-type]

    def handle_exit(self, sig: int, frame: object) -> None:
        self._readiness.is_draining = True
        super().handle_exit(sig, frame)  # type: ignore[arg-type]


async def serve(configuration: Configuration, *, host: str, port: int) -> None:
    """Serve until a signal; raises NotReady when the configuration does not suffice."""
    house = build_house(configuration)
    readiness = Readiness(house)
    config = uvicorn.Config(
        create_app(house, readiness),
        host=host,
        port=port,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        ws="websockets-sansio",
        ws_max_size=_FRAME_LIMIT,
        ws_per_message_deflate=False,
        # A stream would keep the process alive for ever.
        timeout_graceful_shutdown=DRAIN_SECONDS,
    )
    await DrainingServer(config, readiness).serve()


def run(configuration: Configuration, *, host: str, port: int) -> None:
    """Serve in an event loop of its own."""
    asyncio.run(serve(configuration, host=host, port=port))
