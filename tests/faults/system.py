"""The whole system in processes of its own, with a proxy in every connection, so that faults can be injected."""

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import asyncpg
import httpx

from core.access.development_tokens import DevelopmentTokens
from core.ports.principal import DEFAULT_TENANT
from integrations.simulating.client import SimulatorControl
from tests.databases import ENCRYPTION_KEY
from tests.faults.processes import Process, fork_server
from tests.faults.proxy import ChaosProxy
from tests.faults.stores import StoreServers
from tests.helpers import until
from tests.servers import reserved_port

CONNECTIONS = ("ingress", "api-postgres", "worker-postgres", "redis", "twilio", "whatsapp", "smtp")

REPORTING_PROVIDERS = ("twilio", "whatsapp")
"""The companies that tell what becomes of a message."""
PROVIDERS = (*REPORTING_PROVIDERS, "smtp")

COUNT_SENDING_BY = (
    "SELECT count(*) FROM messages WHERE lease_owner = $1 AND lease_until IS NOT NULL AND status = 'SENDING'"
)


class NotStarted(Exception):
    """The system does not even start."""


@dataclass(frozen=True)
class Plan:
    """How large the city is. `settings` go to API and workers; the skews put their clocks ahead."""

    workers: int = 2
    tenants: int = 1
    settings: Mapping[str, str] = field(default_factory=dict)
    api_skew: float = 0.0
    worker_skew: float = 0.0
    within: float = 400.0
    """Seconds after which a run that has not come to its end is broken off."""


@dataclass(eq=False)
class SystemUnderTest:
    """Everything running, and what it takes to hurt it."""

    folder: Path
    cellar: StoreServers
    wires: dict[str, ChaosProxy]
    control: SimulatorControl
    api: Process
    workers: list[Process]
    tenants: list[UUID]
    ambiguous: int = 0
    """How many answers the companies' faults left open."""
    kills: int = 0
    kills_under_load: int = 0
    left_in_hand: int = 0
    """How many messages the killed were sending."""
    numbers: "count[int]" = field(default_factory=count)
    leaving: AsyncExitStack = field(default_factory=AsyncExitStack)
    """What is to be closed before the city is."""

    @property
    def base(self) -> str:
        """Where clients and companies find the API."""
        return f"http://127.0.0.1:{self.wires['ingress'].port}"

    @property
    def logs(self) -> list[Path]:
        return [*sorted(self.folder.glob("*.log")), *sorted(self.folder.glob("*/*.log"))]

    def token(self, tenant: UUID) -> str:
        return DevelopmentTokens(b"k" * 32).make(tenant=tenant)

    async def readiness(self) -> dict[str, Any] | None:
        """What the API says of its parts, past the proxy; None when it does not answer."""
        try:
            async with httpx.AsyncClient(trust_env=False, timeout=20) as http:
                url = f"http://127.0.0.1:{self.wires['ingress'].upstream}/health/ready"
                return dict((await http.get(url)).json())
        except (httpx.HTTPError, ValueError):
            return None

    async def is_ready(self) -> bool:
        report = await self.readiness()
        return report is not None and report["status"] == "ready"

    async def kill_worker(self, worker: Process, patience: float = 1.0) -> None:
        """kill -9, if possible at a moment when it has something in hand; count whether it had."""
        if not worker.is_running:
            return
        end = time.monotonic() + patience
        while time.monotonic() < end and not await self._in_hand(worker):
            await asyncio.sleep(0.02)
        await worker.kill()
        self.kills += 1
        left = await self._in_hand(worker)
        self.kills_under_load += left > 0
        self.left_in_hand += left

    async def _in_hand(self, worker: Process) -> int:
        """How many messages a worker, dead or alive, has leased and begun; 0 while nobody can tell."""
        try:
            [found] = await self.cellar.fetch(COUNT_SENDING_BY, worker.worker_name)
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
            return 0
        return int(found[0])

    async def let_leases_end(self) -> None:
        """Let the time of every lease pass at once."""
        await self.cellar.execute(
            "UPDATE messages SET lease_until = now() - interval '1 s' WHERE lease_until IS NOT NULL"
        )

    async def heal(self) -> None:
        """Everything runs, every wire is good, no company has a fault."""
        for wire in self.wires.values():
            await wire.heal()
        await asyncio.gather(self.cellar.postgres.start(), self.cellar.valkey.start())
        for part in (self.api, *self.workers):
            part.thaw()
            await part.start()
        for company in PROVIDERS:
            await self.control.disarm(company)
        for company in REPORTING_PROVIDERS:
            await self.control.plan_webhooks(company)
            await self.control.release(company)


def _environment(cellar: StoreServers, wires: Mapping[str, ChaosProxy], settings: Mapping[str, str]) -> dict[str, str]:
    postgres, valkey = cellar.postgres.urls, cellar.valkey.urls
    assert postgres is not None
    assert valkey is not None

    def through(url: str, wire: str) -> str:
        parts = urlsplit(url)
        return parts._replace(netloc=parts.netloc.replace(f":{parts.port}", f":{wires[wire].port}")).geturl()

    return {
        "PATH": os.environ.get("PATH", ""),
        # What `tests.faults.switched_off` reads in every process of the product.
        **{name: os.environ[name] for name in ("PYTHONPATH", "FAULT_WITHOUT", "FAULT_USED") if name in os.environ},
        "APP_ENV": "test",
        "EXPLORER": "off",
        # A storm comes from one caller.
        "CALLER_BUDGET": "1000000000",
        "DATABASE_URL": through(postgres.app, "api-postgres"),
        "DATABASE_URL_WORKER": through(postgres.worker, "worker-postgres"),
        "DATABASE_URL_DIRECT": postgres.direct,
        "REDIS_URL": through(valkey.redis, "redis"),
        "ENCRYPTION_KEYS": f"k1:{ENCRYPTION_KEY}",
        "PUBLIC_BASE_URL": f"http://127.0.0.1:{wires['ingress'].port}",
        "TWILIO_ACCOUNT_SID": "AC" + "a" * 32,
        "TWILIO_AUTH_TOKEN": "0123456789abcdef" * 2,
        "TWILIO_PHONE_NUMBER": "+15005550006",
        "TWILIO_MESSAGES_PER_SECOND": "1000",
        "TWILIO_API_BASE": f"http://127.0.0.1:{wires['twilio'].port}/twilio",
        "WHATSAPP_ACCESS_TOKEN": "EAAGsimulated",
        "WHATSAPP_PHONE_NUMBER_ID": "106540352242922",
        "WHATSAPP_BUSINESS_ACCOUNT_ID": "102290129340398",
        "WHATSAPP_APP_SECRET": "0123456789abcdef" * 2,
        "WHATSAPP_WEBHOOK_VERIFY_TOKEN": "verify-token-of-16-characters",
        "WHATSAPP_API_BASE": f"http://127.0.0.1:{wires['whatsapp'].port}/whatsapp",
        "SMTP_TLS": "none",
        "SMTP_HOST": "127.0.0.1",
        "SMTP_PORT": str(wires["smtp"].port),
        "SMTP_USERNAME": "relay",
        "SMTP_PASSWORD": "dummy-password",
        "SMTP_FROM": "Loja <oi@example.com>",
        "SEND_DEADLINE": "4",
        "UNCONFIRMED_HOLD": "5",
        **settings,
    }


async def _make_tenants(cellar: StoreServers, number: int) -> list[UUID]:
    """The one there is, and as many more as are wanted."""
    made = [UUID(int=DEFAULT_TENANT.int + 0x1000 + index) for index in range(number - 1)]
    for index, tenant in enumerate(made):
        await cellar.execute(
            "INSERT INTO tenants (id, slug, name, time_zone, default_currency)"
            " VALUES ($1, $2, $2, 'America/Sao_Paulo', 'BRL')",
            tenant,
            f"tenant-{index + 2}",
        )
    return [DEFAULT_TENANT, *made]


async def _migrate(migration: Process) -> None:
    await migration.start()
    assert migration.process is not None
    if await migration.process.wait() != 0:
        raise NotStarted(migration.log.read_text()[-2_000:])


@asynccontextmanager
async def system_under_test(folder: Path, plan: Plan | None = None) -> AsyncIterator[SystemUnderTest]:
    """A city at work; at the end everything is killed, whatever state it is in."""
    plan = plan or Plan()
    async with AsyncExitStack() as stack, asyncio.timeout(plan.within):
        cellar = StoreServers(folder)
        stack.push_async_callback(cellar.stop)
        postgres, valkey = await asyncio.gather(cellar.postgres.start(), cellar.valkey.start())
        upstreams = {
            "ingress": reserved_port(),
            "api-postgres": urlsplit(postgres.app).port or 0,
            "worker-postgres": urlsplit(postgres.worker).port or 0,
            "redis": urlsplit(valkey.redis).port or 0,
        }
        wires = {name: ChaosProxy(name, upstreams.get(name, 0)) for name in CONNECTIONS}
        for wire in wires.values():
            await wire.start()
            stack.push_async_callback(wire.stop)
        environment = _environment(cellar, wires, plan.settings)
        mother = await stack.enter_async_context(fork_server(environment))
        await _migrate(Process("migration", ("migrate", "up"), environment, folder, mother))
        tenants = await _make_tenants(cellar, plan.tenants)
        # Killed processes lose nothing by it, only a killed machine would; and the disk is not what is tested.
        await cellar.execute("ALTER SYSTEM SET fsync = off")
        await cellar.execute("SELECT pg_reload_conf()")
        simulators = Process("simulators", ("simulators",), environment, folder)
        stack.push_async_callback(simulators.kill)
        await simulators.start()
        announced = json.loads(await simulators.first_line())
        wires["twilio"].upstream = wires["whatsapp"].upstream = urlsplit(announced["http"]).port or 0
        wires["smtp"].upstream = announced["smtp"]
        control = await stack.enter_async_context(SimulatorControl(announced["http"], timeout=60))
        serve = ("serve", "--port", str(upstreams["ingress"]))
        api = Process("api", serve, environment, folder, mother, plan.api_skew)
        names = (f"worker-{number + 1}" for number in range(plan.workers))
        workers = [Process(name, ("worker",), environment, folder, mother, plan.worker_skew) for name in names]
        city = SystemUnderTest(folder, cellar, wires, control, api, workers, tenants)
        await stack.enter_async_context(city.leaving)
        for part in (api, *workers):
            stack.push_async_callback(part.kill)
            await part.start()
        try:
            await until(city.is_ready, bool, 60)
        except AssertionError as error:
            raise NotStarted(api.log.read_text()[-2_000:]) from error
        yield city
