"""The simulators' process, on loopback only, never in production: `python -m integrations.simulating.server`."""

import asyncio
import json
import os
import pkgutil
import signal
import sys
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from aiohttp import web

import integrations
from integrations.simulating.control import Control, guard
from integrations.simulating.journal import Journal
from integrations.simulating.provider import SimulatedProvider

HOST = "127.0.0.1"
REFUSED = 2
"""Exit status when the environment forbids simulators, or their ports are taken."""


class Forbidden(Exception):
    """Simulators must not run here."""


class CannotListen(Exception):
    """A port is taken, or is none."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The environment, of which each provider reads its own part; port 0 is a free one."""

    environment: Mapping[str, str] = field(repr=False)

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> "Settings":
        """Take the environment; raises Forbidden in production."""
        if environment.get("APP_ENV", "").strip().lower() == "production":
            raise Forbidden("Simulators do not run when APP_ENV=production: messages would go nowhere.")
        return cls(environment)

    @property
    def port(self) -> int:
        return int(self.environment.get("SIMULATORS_PORT") or 0)


def simulated_providers(environment: Mapping[str, str], journal: Journal) -> dict[str, SimulatedProvider]:
    """Create a simulator for every integration whose folder has one."""
    folders = sorted(module.name for module in pkgutil.iter_modules(integrations.__path__) if module.ispkg)
    modules = [f"integrations.{folder}.simulator" for folder in folders]
    found = [import_module(module) for module in modules if find_spec(module) is not None]
    created: list[SimulatedProvider] = [module.Simulator(environment, journal) for module in found]
    return {provider.name: provider for provider in created}


async def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT; announces on stdout, as one line of JSON, where everything listens."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signal_number, stop.set)
    async with AsyncExitStack() as stack:
        try:
            announcement = await _start(settings, stack)
        except (OSError, ValueError, OverflowError) as error:
            ports = "SIMULATORS_PORT, SIMULATORS_SMTP_PORT and SIMULATORS_SMTPS_PORT"
            raise CannotListen(f"Simulators cannot listen: {error}. Change {ports}, or leave them out.") from error
        sys.stdout.write(json.dumps(announcement) + "\n")
        sys.stdout.flush()
        await stop.wait()


async def _start(settings: Settings, stack: AsyncExitStack) -> dict[str, Any]:
    journal = Journal()
    simulated = simulated_providers(settings.environment, journal)
    announcement: dict[str, Any] = {"ready": True}
    app = web.Application(middlewares=[guard])
    app.add_routes(Control(simulated, journal, lambda: announcement).routes())
    for name, provider in simulated.items():
        stack.push_async_callback(provider.stop)
        announcement.update(await provider.start())
        side = web.Application()
        side.add_routes(provider.routes())
        app.add_subapp(f"/{name}", side)
    # A caller who is being kept waiting by a fault is not waited for.
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    await web.TCPSite(runner, HOST, settings.port).start()
    announcement["http"] = f"http://{HOST}:{runner.addresses[0][1]}"
    return announcement


def main() -> int:
    """Run the process."""
    try:
        asyncio.run(run(Settings.read(os.environ)))
    except (Forbidden, CannotListen) as error:
        sys.stderr.write(f"{error}\n")
        return REFUSED
    return 0


if __name__ == "__main__":
    sys.exit(main())
