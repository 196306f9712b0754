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

from core.access.sessions import DevelopmentTokens
from core.ports.identity import DEFAULT_TENANT
from integrations.simulating.client import SimulatorControl
from tests.databases import ENCRYPTION_KEY
from tests.faults.processes import Process, fork_server
from tests.faults.stores import StoreServers
from tests.helpers import until
from tests.proxy import ChaosProxy
from tests.servers import reserved_port

PROXIED = ("ingress", "api-postgres", "worker-postgres", "redis", "twilio", "whatsapp", "smtp")

REPORTING_PROVIDERS = ("twilio", "whatsapp")
"""The providers that report what became of a message."""
PROVIDERS = (*REPORTING_PROVIDERS, "smtp")

COUNT_SENDING_BY = (
    "SELECT count(*) FROM messages WHERE lease_owner = $1 AND lease_until IS NOT NULL AND status = 'SENDING'"
)


class NotStarted(Exception):
    """The system under test did not start."""


@dataclass(frozen=True)
class Plan:
    """The size of the system, the settings of API and workers, and how many seconds their clocks are ahead."""

    workers: int = 2
    tenants: int = 1
    settings: Mapping[str, str] = field(default_factory=dict)
    api_skew: float = 0.0
    worker_skew: float = 0.0
    within: float = 400.0
    """Seconds after which the run is stopped."""


@dataclass(eq=False)
class SystemUnderTest:
    """The running system, with what is needed to inject faults."""

    folder: Path
    stores: StoreServers
    proxies: dict[str, ChaosProxy]
    control: SimulatorControl
    api: Process
    workers: list[Process]
    tenants: list[UUID]
    ambiguous: int = 0
    """How many answers the providers' faults left unknown."""
    kills: int = 0
    kills_under_load: int = 0
    left_sending: int = 0
    """How many messages the killed workers were sending."""
    numbers: "count[int]" = field(default_factory=count)
    exit_stack: AsyncExitStack = field(default_factory=AsyncExitStack)
    """Closed before the system is."""

    @property
    def base(self) -> str:
        """The API's address for clients and providers: through the proxy."""
        return f"http://127.0.0.1:{self.proxies['ingress'].port}"

    @property
    def logs(self) -> list[Path]:
        return [*sorted(self.folder.glob("*.log")), *sorted(self.folder.glob("*/*.log"))]

    def token(self, tenant: UUID) -> str:
        return DevelopmentTokens(b"k" * 32).make(tenant=tenant)

    async def readiness(self) -> dict[str, Any] | None:
        """Ask the API for its health, not through the proxy; None where it does not answer."""
        try:
            async with httpx.AsyncClient(trust_env=False, timeout=20) as http:
                url = f"http://127.0.0.1:{self.proxies['ingress'].upstream}/health/ready"
                return dict((await http.get(url)).json())
        except (httpx.HTTPError, ValueError):
            return None

    async def is_ready(self) -> bool:
        report = await self.readiness()
        return report is not None and report["status"] == "ready"

    async def kill_worker(self, worker: Process, within: float = 1.0) -> None:
        """Kill a worker with SIGKILL, if possible while it is sending, and count whether it was."""
        if not worker.is_running:
            return
        end = time.monotonic() + within
        while time.monotonic() < end and not await self._count_sending(worker):
            await asyncio.sleep(0.02)
        await worker.kill()
        self.kills += 1
        left = await self._count_sending(worker)
        self.kills_under_load += left > 0
        self.left_sending += left

    async def _count_sending(self, worker: Process) -> int:
        """Count the messages that a worker has leased and begun to send; 0 while the database cannot be reached."""
        try:
            [found] = await self.stores.fetch(COUNT_SENDING_BY, worker.worker_name)
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
            return 0
        return int(found[0])

    async def expire_leases(self) -> None:
        """End every lease now."""
        await self.stores.execute(
            "UPDATE messages SET lease_until = now() - interval '1 s' WHERE lease_until IS NOT NULL"
        )

    async def heal(self) -> None:
        """Start what was stopped and take away every fault."""
        for proxy in self.proxies.values():
            await proxy.heal()
        await asyncio.gather(self.stores.postgres.start(), self.stores.valkey.start())
        for process in (self.api, *self.workers):
            process.thaw()
            await process.start()
        for provider in PROVIDERS:
            await self.control.disarm(provider)
        for provider in REPORTING_PROVIDERS:
            await self.control.plan_webhooks(provider)
            await self.control.release(provider)


def _environment(
    stores: StoreServers, proxies: Mapping[str, ChaosProxy], settings: Mapping[str, str]
) -> dict[str, str]:
    postgres, valkey = stores.postgres.urls, stores.valkey.urls
    assert postgres is not None
    assert valkey is not None

    def through(url: str, name: str) -> str:
        parts = urlsplit(url)
        return parts._replace(netloc=parts.netloc.replace(f":{parts.port}", f":{proxies[name].port}")).geturl()

    return {
        "PATH": os.environ.get("PATH", ""),
        # What `tests.faults.switched_off` reads in every process of the product.
        **{name: os.environ[name] for name in ("PYTHONPATH", "FAULT_WITHOUT", "FAULT_USED") if name in os.environ},
        "APP_ENV": "test",
        "EXPLORER": "off",
        # All requests of a run come from one address.
        "CALLER_BUDGET": "1000000000",
        "DATABASE_URL": through(postgres.app, "api-postgres"),
        "DATABASE_URL_WORKER": through(postgres.worker, "worker-postgres"),
        "DATABASE_URL_DIRECT": postgres.direct,
        "REDIS_URL": through(valkey.redis, "redis"),
        "ENCRYPTION_KEYS": f"k1:{ENCRYPTION_KEY}",
        "PUBLIC_BASE_URL": f"http://127.0.0.1:{proxies['ingress'].port}",
        "TWILIO_ACCOUNT_SID": "AC" + "a" * 32,
        "TWILIO_AUTH_TOKEN": "0123456789abcdef" * 2,
        "TWILIO_PHONE_NUMBER": "+15005550006",
        "TWILIO_MESSAGES_PER_SECOND": "1000",
        "TWILIO_API_BASE": f"http://127.0.0.1:{proxies['twilio'].port}/twilio",
        "WHATSAPP_ACCESS_TOKEN": "EAAGsimulated",
        "WHATSAPP_PHONE_NUMBER_ID": "106540352242922",
        "WHATSAPP_BUSINESS_ACCOUNT_ID": "102290129340398",
        "WHATSAPP_APP_SECRET": "0123456789abcdef" * 2,
        "WHATSAPP_WEBHOOK_VERIFY_TOKEN": "verify-token-of-16-characters",
        "WHATSAPP_API_BASE": f"http://127.0.0.1:{proxies['whatsapp'].port}/whatsapp",
        "SMTP_TLS": "none",
        "SMTP_HOST": "127.0.0.1",
        "SMTP_PORT": str(proxies["smtp"].port),
        "SMTP_USERNAME": "relay",
        "SMTP_PASSWORD": "dummy-password",
        "SMTP_FROM": "Loja <oi@example.com>",
        "SEND_DEADLINE": "4",
        "UNCONFIRMED_HOLD": "5",
        **settings,
    }


async def _make_tenants(stores: StoreServers, number: int) -> list[UUID]:
    """Add tenants to the default one; return all."""
    made = [UUID(int=DEFAULT_TENANT.int + 0x1000 + index) for index in range(number - 1)]
    for index, tenant in enumerate(made):
        await stores.execute(
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
    """Start a system; at the end kill all of its processes, whatever state they are in."""
    plan = plan or Plan()
    async with AsyncExitStack() as stack, asyncio.timeout(plan.within):
        stores = StoreServers(folder)
        stack.push_async_callback(stores.stop)
        postgres, valkey = await asyncio.gather(stores.postgres.start(), stores.valkey.start())
        upstreams = {
            "ingress": reserved_port(),
            "api-postgres": urlsplit(postgres.app).port or 0,
            "worker-postgres": urlsplit(postgres.worker).port or 0,
            "redis": urlsplit(valkey.redis).port or 0,
        }
        proxies = {name: ChaosProxy(name, upstreams.get(name, 0)) for name in PROXIED}
        for proxy in proxies.values():
            await proxy.start()
            stack.push_async_callback(proxy.stop)
        environment = _environment(stores, proxies, plan.settings)
        forks = await stack.enter_async_context(fork_server(environment))
        await _migrate(Process("migration", ("migrate", "up"), environment, folder, forks))
        tenants = await _make_tenants(stores, plan.tenants)
        # Only a machine that fails would lose data by this, and no test does that.
        await stores.execute("ALTER SYSTEM SET fsync = off")
        await stores.execute("SELECT pg_reload_conf()")
        simulators = Process("simulators", ("simulators",), environment, folder)
        stack.push_async_callback(simulators.kill)
        await simulators.start()
        announced = json.loads(await simulators.first_line())
        proxies["twilio"].upstream = proxies["whatsapp"].upstream = urlsplit(announced["http"]).port or 0
        proxies["smtp"].upstream = announced["smtp"]
        control = await stack.enter_async_context(SimulatorControl(announced["http"], timeout=60))
        serve = ("serve", "--port", str(upstreams["ingress"]))
        api = Process("api", serve, environment, folder, forks, plan.api_skew)
        names = (f"worker-{number + 1}" for number in range(plan.workers))
        workers = [Process(name, ("worker",), environment, folder, forks, plan.worker_skew) for name in names]
        system = SystemUnderTest(folder, stores, proxies, control, api, workers, tenants)
        await stack.enter_async_context(system.exit_stack)
        for process in (api, *workers):
            stack.push_async_callback(process.kill)
            await process.start()
        try:
            await until(system.is_ready, bool, 60)
        except AssertionError as error:
            raise NotStarted(api.log.read_text()[-2_000:]) from error
        yield system
