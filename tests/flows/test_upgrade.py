"""An upgrade on live data: the previous version and this one run side by side on one database, until the contract.

The previous version comes from the git history. Each message is sent once and reported, whichever version accepts it or
applies the report, and ids in clear are sealed once the previous version is gone.
"""

import asyncio
import io
import json
import signal
import subprocess
import tarfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import httpx
import pytest

from api.migrations import downgrade, upgrade
from core.access.sessions import DevelopmentTokens
from core.database import Database, make_engine
from core.masking import encodes_phone_number
from core.messages.provider_ids import open_id
from core.messages.status import ProviderId
from core.ports import ReportedStatus, StatusReport
from core.ports.identity import DEFAULT_TENANT
from core.sealing import Sealer
from integrations.simulating.client import SimulatorControl
from tests.databases import SharedStores, Urls
from tests.delivery.pipeline import store_events
from tests.helpers import until
from tests.running_system import Process, System, command, environment, new_phone, readiness
from tests.servers import free_port

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
BEFORE = "095167bb9276a733e246f8eaa6ce7b3dace61dc6"
"""The last version that stored providers' ids in clear, and its last migration."""
THEIR_HEAD = "0011"
NUMBER = 4


def version_before(folder: Path) -> Path:
    """Write the previous version's sources from the git history; return the folder to import from."""
    archive = ["git", "-C", str(ROOT), "archive", "--format=tar", BEFORE, "src", "migrations"]
    made = subprocess.run(archive, capture_output=True, check=False)
    if made.returncode != 0:
        # A shallow clone does not have this commit.
        fetch = ["git", "-C", str(ROOT), "fetch", "--quiet", "--depth", "1", "origin", BEFORE]
        subprocess.run(fetch, capture_output=True, check=False, timeout=60)
        made = subprocess.run(archive, capture_output=True, check=False)
    if made.returncode != 0:
        pytest.fail(
            f"The commit {BEFORE[:7]} is not in this clone, and it cannot be fetched. This test runs that version"
            " beside the present one: clone with the whole history (fetch-depth: 0). git says:"
            f" {made.stderr.decode().strip()}"
        )
    with tarfile.open(fileobj=io.BytesIO(made.stdout)) as tar:
        tar.extractall(folder, filter="data")
    return folder / "src"


@dataclass
class Version:
    """The processes of one version and a client of its API."""

    api: Process
    worker: Process
    system: System

    async def end(self) -> None:
        assert [await one.end() for one in (self.worker, self.api)] == [0, 0]


@dataclass
class Rollout:
    """A database and processes of the previous version; the test starts those of this version."""

    folder: Path
    urls: Urls
    control: SimulatorControl
    environment: dict[str, str]
    ports: tuple[int, int]
    stack: AsyncExitStack
    owner: asyncpg.Connection
    app: Database

    async def start(self, name: str, port: int, reports_to: int, source: Path | None = None) -> Version:
        """Start an API and a worker; Twilio reports what the worker sends to the API at the port `reports_to`."""
        env = self.environment | ({"PYTHONPATH": str(source)} if source else {})
        base = f"http://127.0.0.1:{port}"
        serving = env | {"PUBLIC_BASE_URL": base}
        api = Process(command("serve", "--port", str(port)), serving, self.folder / f"{name}-api.log")
        await api.start()
        worker = await self.worker(name, reports_to, source)
        token = DevelopmentTokens(b"k" * 32).make()
        client = httpx.AsyncClient(
            base_url=base, headers={"authorization": f"Bearer {token}"}, timeout=20, trust_env=False
        )
        http = await self.stack.enter_async_context(client)
        await until(lambda: readiness(http), lambda status: status == 200, 30)
        system = System(base, token, api, worker, self.control, http, self.urls, env)
        return Version(api, worker, system)

    async def worker(self, name: str, reports_to: int, source: Path | None = None) -> Process:
        """Start a worker."""
        env = self.environment | ({"PYTHONPATH": str(source)} if source else {})
        env |= {"PUBLIC_BASE_URL": f"http://127.0.0.1:{reports_to}"}
        worker = Process(command("worker"), env, self.folder / f"{name}-worker.log")
        await worker.start()
        return worker

    async def take(self, version: Version) -> dict[str, str]:
        """Send SMS and answers over WhatsApp; return the recipients by the id of the message."""
        taken = {}
        for number in range(NUMBER):
            phone = new_phone()
            if number % 2:
                await self.control.inbound("whatsapp", sender=phone, text="Oi")
                route = [{"channel": "WHATSAPP"}]
                id = await version.system.send(to={"phone": phone}, content={"text": "Olá"}, route=route)
            else:
                id = await version.system.sms(phone)
            taken[id] = phone
        return taken

    async def name_of(self, sealer: Sealer, phone: str, provider: str) -> str:
        [message] = await self.control.messages(provider, to=phone)
        return str(message["id"])

    async def report_without_reference(self, sealer: Sealer, provider: str, id: str) -> None:
        """Send a report that names the message by the provider's id only."""
        report = StatusReport(
            f"{id}:read", "read", "{}", status=ReportedStatus.READ, provider_message_id=id, reference=None
        )
        await store_events(self.app, sealer, provider, [report])


@asynccontextmanager
async def rollout(stores: SharedStores, folder: Path) -> AsyncIterator[Rollout]:
    ports = (free_port(), free_port())
    async with stores.database() as urls, AsyncExitStack() as stack:
        await asyncio.to_thread(downgrade, urls.direct, THEIR_HEAD)
        env = environment(urls, ports[0])
        simulators = Process(command("simulators"), env, folder / "simulators.log")
        await simulators.start()
        stack.push_async_callback(simulators.end)
        announced = json.loads(await simulators.first_line())
        env |= {
            "TWILIO_API_BASE": f"{announced['http']}/twilio",
            "WHATSAPP_API_BASE": f"{announced['http']}/whatsapp",
            "CLERK_API_BASE": f"{announced['http']}/clerk",
            "SMTP_HOST": "127.0.0.1",
            "SMTP_PORT": str(announced["smtp"]),
        }
        control = await stack.enter_async_context(SimulatorControl(announced["http"]))
        owner = await asyncpg.connect(urls.superuser)
        stack.push_async_callback(owner.close)
        app = Database(make_engine(urls.app))
        stack.push_async_callback(app.close)
        yield Rollout(folder, urls, control, env, ports, stack, owner, app)


async def arrived(version: Version, taken: dict[str, str], status: str = "DELIVERED") -> None:
    for id in taken:
        await version.system.comes_to(id, status, 30)


async def once(control: SimulatorControl, taken: dict[str, str]) -> None:
    for phone in taken.values():
        copies = [len(await control.messages(provider, to=phone)) for provider in ("twilio", "whatsapp")]
        assert sum(copies) == 1, (phone, copies)


async def test_both_versions_work_side_by_side_until_ids_in_clear_are_gone(
    stores: SharedStores, tmp_path: Path
) -> None:
    source = await asyncio.to_thread(version_before, tmp_path)
    sealer = Sealer({"k1": b"k" * 32})
    async with rollout(stores, tmp_path) as here:
        theirs, ours = here.ports
        old = await here.start("old", theirs, theirs, source)
        first = await here.take(old)
        await arrived(old, first)
        waits = await asyncio.to_thread(upgrade, here.urls.direct)
        assert len(waits) == 3, waits
        # From now on the API of the other version gets each worker's reports.
        new = await here.start("new", ours, theirs)
        assert await old.worker.end() == 0
        old.worker = await here.worker("old", ours, source)
        second, third = await here.take(old), await here.take(new)
        taken = first | second | third
        await arrived(new, taken)
        await once(here.control, taken)

        # A report with the provider's id only finds its message, whichever version stored it or applies the report.
        for frozen, living, messages in ((new, old, third), (old, new, second), (old, new, first)):
            id, phone = list(messages.items())[1]
            assert frozen.worker.process is not None
            frozen.worker.process.send_signal(signal.SIGSTOP)
            try:
                await here.report_without_reference(sealer, "whatsapp", await here.name_of(sealer, phone, "whatsapp"))
                await living.system.comes_to(id, "READ", 20)
            finally:
                frozen.worker.process.send_signal(signal.SIGCONT)

        await old.end()
        heir = await here.start("heir", theirs, ours)
        contract = await until(lambda: asyncio.to_thread(upgrade, here.urls.direct), lambda left: left == [], 30)
        assert contract == []
        fourth = await here.take(new)
        await arrived(new, fourth)
        await once(here.control, taken | fourth)
        await everything_is_sealed(here, sealer)
        id, phone = list(first.items())[1]
        shown = await new.system.show(id)
        assert shown["attempts"][0]["providerMessageId"] == await here.name_of(sealer, phone, "whatsapp")
        await heir.end()
        await new.end()
        for log in tmp_path.glob("*.log"):
            assert "Traceback" not in log.read_text(), log.read_text()[-3_000:]


async def everything_is_sealed(here: Rollout, sealer: Sealer) -> None:
    rows = await here.owner.fetch("SELECT * FROM attempts")
    assert rows
    for row in rows:
        assert (row["provider_message_id"], row["provider_id_lookup"] is None) == (None, False)
        kept = ProviderId(row["provider_id_sealed"], None, None)
        assert open_id(sealer, kept, DEFAULT_TENANT, row["message_id"], row["number"])
    for table in ("attempts", "messages", "message_events"):
        for row in await here.owner.fetch(f"SELECT t::text AS whole FROM {table} t"):
            assert not encodes_phone_number(row["whole"])
