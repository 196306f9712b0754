"""Starts stores, simulators, migrations, API and worker, keeps them running, and stops them in order."""

import asyncio
import io
import json
import re
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any

from dotenv import dotenv_values

from api import configuration
from api.configuration import Configuration
from core.settings.addresses import LOOPBACK
from devkit import pages
from devkit.child import Part, PartFailed
from devkit.embedded.stores import Stores, StoreUrls
from devkit.home import Home

_ADDRESS = re.compile(r"^# ([A-Z_]+)=$", re.MULTILINE)
_OWN_PORTS = {"smtp": "SIMULATORS_SMTP_PORT", "smtps": "SIMULATORS_SMTPS_PORT"}


def dummies(names: Sequence[str]) -> dict[str, str]:
    """Return the accounts that adapter and simulator agree on."""
    values: dict[str, str] = {}
    for name in names:
        values |= {key: text for key, text in dotenv_values(stream=io.StringIO(_example(name))).items() if text}
    return values


def addresses(names: Sequence[str], announced: Mapping[str, Any]) -> dict[str, str]:
    """Return where the simulators are, as their process has announced it."""
    return {
        variable: _address(variable, name, announced) for name in names for variable in _ADDRESS.findall(_example(name))
    }


def ports(announced: Mapping[str, Any]) -> dict[str, str]:
    """Return the settings by which a new process of the simulators listens where the one before it did."""
    own = {variable: str(announced[key]) for key, variable in _OWN_PORTS.items() if key in announced}
    return {"SIMULATORS_PORT": announced["http"].rpartition(":")[2], **own}


def _example(name: str) -> str:
    return files(f"integrations.{name}").joinpath("example.env").read_text(encoding="utf-8")


def _address(variable: str, name: str, announced: Mapping[str, Any]) -> str:
    if variable.endswith("_HOST"):
        return LOOPBACK
    return str(announced[name]) if variable.endswith("_PORT") else f"{announced['http']}/{name}"


# Asks our API whether it is ready, without importing an HTTP library, which takes a second.


_POLL_SECONDS = 0.1
_ANSWER_SECONDS = 5.0
_PATIENCE_SECONDS = 15.0


async def until_ready(port: int, say: Callable[[str, str], None]) -> None:
    """Wait until /health/ready says so; every quarter of a minute say what is still missing."""
    loop = asyncio.get_running_loop()
    patience = loop.time() + _PATIENCE_SECONDS
    while (parts := await _unready_parts(port)) != {}:
        if loop.time() > patience:
            missing = "; ".join(f"{name}: {part.get('detail', '')}" for name, part in (parts or {}).items())
            say("waiting", missing or "the API does not answer yet")
            patience += _PATIENCE_SECONDS
        await asyncio.sleep(_POLL_SECONDS)


async def _unready_parts(port: int) -> dict[str, dict[str, Any]] | None:
    """Return what is not ready; None while nothing answers."""
    try:
        async with asyncio.timeout(_ANSWER_SECONDS):
            reader, writer = await asyncio.open_connection(LOOPBACK, port)
            try:
                writer.write(b"GET /health/ready HTTP/1.0\r\nHost: localhost\r\n\r\n")
                body = (await reader.read()).partition(b"\r\n\r\n")[2]
            finally:
                writer.close()
        parts: dict[str, dict[str, Any]] = json.loads(body)["parts"]
    except (OSError, TimeoutError, ValueError, KeyError):
        return None
    return {name: part for name, part in parts.items() if not part["ok"]}


# Starts all parts in parallel, keeps them running, and stops them in order: API, worker, simulators, stores.


# In the order of their end. A caller that reads a stream or waits for a slow provider must not delay the end.
_FAREWELL_SECONDS = {"api": 5.0, "worker": 10.0, "simulators": 3.0}
# What commands in other terminals are told, besides what leads to the simulators.
_TOLD = (
    *("DATABASE_URL", "DATABASE_URL_WORKER", "DATABASE_URL_DIRECT", "REDIS_URL"),
    *("ENCRYPTION_KEYS", "PUBLIC_BASE_URL", "PORT"),
)
# The settings that simulators receive; of accounts they know the dummies only.
_FOR_SIMULATORS = (
    *("APP_ENV", "LOG_LEVEL", "PUBLIC_BASE_URL"),
    *("SIMULATORS_PORT", "SIMULATORS_SMTP_PORT", "SIMULATORS_SMTPS_PORT"),
)


@dataclass(frozen=True, slots=True)
class DevOptions:
    """What is to run: `environment` is what the person set, and wins; with `forget` nothing is kept."""

    environment: Mapping[str, str] = field(repr=False)
    configuration: Configuration
    home: Home
    port: int
    forget: bool


@dataclass(frozen=True, slots=True)
class RunningStack:
    """Everything runs: what a person is told. `settings` are those of the API, secrets and all."""

    settings: Mapping[str, str] = field(repr=False)
    stores: StoreUrls
    revision: str
    simulated: Sequence[str]
    simulators: str
    seconds: float


class Supervisor:
    """Runs one order until it is told to stop. `narrate` is called once everything is ready, and cancelled at the end.

    `say` is told, as (part, words), what a person should know meanwhile.
    """

    def __init__(
        self,
        order: DevOptions,
        say: Callable[[str, str], None],
        narrate: Callable[[RunningStack], Awaitable[None]],
    ) -> None:
        self._order = order
        self._say = say
        self._narrate = narrate
        self._began = time.monotonic()
        given = order.environment
        self._stores = Stores(
            order.home.folder,
            durable=not order.forget,
            postgres="DATABASE_URL" not in given,
            redis="REDIS_URL" not in given,
        )
        self._simulated = configuration.to_simulate(order.configuration)
        self._api, self._worker, self._simulators, self._migrations, self._pages = (
            Part(name, order.home, say) for name in ("api", "worker", "simulators", "migrations", "pages")
        )
        self._kept = (self._api, self._worker, *([self._simulators] if self._simulated else []))

    async def run(self, stop: asyncio.Event, haste: asyncio.Event) -> None:
        """Run everything until `stop`; `haste` cuts the farewells short.

        Raises EmbeddedStoreError, and PartFailed when a process does not even start.
        """
        try:
            starting = asyncio.create_task(self._stores.start())
            # Its first step takes the folder, or is refused it; before that nothing in there is ours to touch.
            await asyncio.sleep(0)
            if starting.done():
                starting.result()
            await self._run_parts(starting, stop, haste)
        except ExceptionGroup as failures:
            raise _first_of(failures) from None
        finally:
            await self._stores.stop()
            if self._order.forget:
                await self._stores.erase()

    async def _run_parts(self, starting: "asyncio.Task[StoreUrls]", stop: asyncio.Event, haste: asyncio.Event) -> None:
        self._order.home.open_logs()
        try:
            async with asyncio.TaskGroup() as tasks:
                for part in self._kept:
                    tasks.create_task(part.keep())
                story = tasks.create_task(self._tell_story(starting))
                await stop.wait()
                story.cancel()
                for part in self._kept:
                    await part.stop(_FAREWELL_SECONDS[part.name], haste)
        finally:
            self._order.home.remove_settings()
            starting.cancel()
            with suppress(asyncio.CancelledError):
                await starting

    async def _tell_story(self, starting: "asyncio.Task[StoreUrls]") -> None:
        standing = await self._bring_up(starting)
        async with asyncio.TaskGroup() as tasks:
            # Last, for nothing waits for it, and it takes the machine for a while.
            tasks.create_task(self._build_pages())
            await self._narrate(standing)

    async def _build_pages(self) -> None:
        """Build what is missing or old; a failure is told, and everything else goes on."""
        core = self._order.configuration.core
        if core is None or not core.has_explorer or not pages.is_stale():
            return
        self._say("pages", "being built, a minute or so the first time")
        self._pages.give({})
        try:
            await self._pages.run_once()
        except PartFailed as error:
            self._say("pages", f"not built, and everything else goes on. {error}")
        else:
            self._say("pages", "built")

    async def _bring_up(self, starting: "asyncio.Task[StoreUrls]") -> RunningStack:
        async with asyncio.TaskGroup() as tasks:
            migrating = tasks.create_task(self._migrations.run_once())
            simulators_started = tasks.create_task(self._start_simulators())
            urls = await asyncio.shield(starting)
            core, simulators = self._core_settings(urls), await simulators_started
            settings = {**core, **simulators}
            self._order.home.write_settings({**{name: core[name] for name in _TOLD if name in core}, **simulators})
            self._migrations.give(settings)
            self._api.give(settings)
            await migrating
            self._worker.give(settings)
        await until_ready(self._order.port, self._say)
        for part in self._kept:
            part.may_be_restarted = True
        return RunningStack(
            settings=settings,
            stores=urls,
            revision=(await self._migrations.announced)["revision"],
            simulated=self._simulated,
            simulators=(await self._simulators.announced)["http"] if self._simulated else "",
            seconds=time.monotonic() - self._began,
        )

    def _core_settings(self, urls: StoreUrls) -> dict[str, str]:
        stores = {"REDIS_URL": urls.redis} if urls.redis else {}
        if urls.app:
            stores |= {
                "DATABASE_URL": urls.app,
                "DATABASE_URL_WORKER": urls.worker,
                "DATABASE_URL_DIRECT": urls.direct,
            }
        return {**self._own_settings(), **stores}

    def _own_settings(self) -> dict[str, str]:
        """Return what is known without others; webhooks go where we listen, and `localhost` may be elsewhere."""
        given, port = self._order.environment, self._order.port
        return {
            "PUBLIC_BASE_URL": f"http://{LOOPBACK}:{port}",
            "ENCRYPTION_KEYS": given.get("ENCRYPTION_KEYS") or self._order.home.keys(),
            **given,
            "PORT": str(port),
        }

    async def _start_simulators(self) -> dict[str, str]:
        """Start the simulators, and return the settings that lead to them."""
        if not self._simulated:
            return {}
        own = self._own_settings()
        accounts = dummies(self._simulated)
        theirs = {**{name: own[name] for name in _FOR_SIMULATORS if name in own}, **accounts}
        self._simulators.give(theirs)
        announced = await self._simulators.announced
        again = ports(announced)
        self._simulators.give({**theirs, **again})
        return {**accounts, **addresses(self._simulated, announced), **again}


def _first_of(failures: BaseException) -> BaseException:
    while isinstance(failures, BaseExceptionGroup):
        failures = failures.exceptions[0]
    return failures
