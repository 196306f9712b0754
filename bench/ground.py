"""What both sides of a benchmark stand on: one durable PostgreSQL, one Valkey, the simulated companies, Node."""

import asyncio
import base64
import hashlib
import hmac
import json
import os
import signal
import socket
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from api.migrations import upgrade
from devkit.embedded.stores import Stores
from devkit.pages import find_npm

PROGRAM = str(Path(sys.executable).with_name("interalpha"))
BENCH = Path(__file__).parent
PEERS = BENCH / "peers"
SECRET = b"thirty-two bytes for a benchmark"


@dataclass(frozen=True, slots=True)
class Ground:
    """Where everything is: the environment of our processes, and that of the peers' on the same stores."""

    ours: Mapping[str, str]
    peers: Mapping[str, str]
    direct: str
    control: str
    node: Sequence[str]

    @asynccontextmanager
    async def program(self, *arguments: str, **more: str) -> AsyncIterator[Process]:
        """Run one of our commands, and let it end in order."""
        async with _running([PROGRAM, *arguments], {**self.ours, **more}) as process:
            yield process

    @asynccontextmanager
    async def peer(self, script: str, **more: str) -> AsyncIterator[Process]:
        """Run a peer; it is told what to do on stdin and says so on stdout."""
        async with _running([*self.node, script], {**self.peers, **more}, cwd=PEERS) as process:
            yield process

    async def count(self, question: str) -> int:
        """Ask PostgreSQL for a number, on a connection of one's own."""
        connection = await asyncpg.connect(self.direct)
        try:
            return int(await connection.fetchval(question))
        finally:
            await connection.close()


@asynccontextmanager
async def ground(folder: Path) -> AsyncIterator[Ground]:
    """Put everything up in a folder: migrated for us, with the peers' tables in a schema of their own."""
    node = await _node()
    async with Stores(folder / "data") as urls, simulators() as announced:
        await asyncio.to_thread(upgrade, urls.direct)
        connection = await asyncpg.connect(urls.direct)
        await connection.execute((PEERS / "tables.sql").read_text())
        await connection.close()
        shared = {"PATH": os.environ["PATH"], "HOME": str(folder), "REDIS_URL": urls.redis, **companies(announced)}
        ours = {
            "DATABASE_URL": urls.app,
            "DATABASE_URL_WORKER": urls.worker,
            "DATABASE_URL_DIRECT": urls.direct,
            "ENCRYPTION_KEYS": f"k1:{base64.b64encode(SECRET).decode()}",
            # One caller asks more here than any should.
            "CALLER_BUDGET": "1000000000",
        }
        peers = {
            "DATABASE_URL": urls.direct,
            "WEBHOOK_URL": "http://127.0.0.1:9/webhooks/twilio",
            "NODE_ENV": "production",
            "TOKEN_KEY": base64.b64encode(token_key()).decode(),
        }
        yield Ground({**shared, **ours}, {**shared, **peers}, urls.direct, announced["http"], node)


def companies(announced: Mapping[str, str]) -> dict[str, str]:
    """The accounts at the simulated companies; the pace is kept, and the fastest there is."""
    return {
        "TWILIO_ACCOUNT_SID": "AC" + "0" * 32,
        "TWILIO_AUTH_TOKEN": "0" * 32,
        "TWILIO_PHONE_NUMBER": "+15005550006",
        "TWILIO_MESSAGES_PER_SECOND": "4000",
        "TWILIO_API_BASE": f"{announced['http']}/twilio",
        "SMTP_HOST": "127.0.0.1",
        "SMTP_PORT": str(announced["smtp"]),
        "SMTP_TLS": "none",
        "SMTP_USERNAME": "interalpha",
        "SMTP_PASSWORD": "dummy-password",
        "SMTP_FROM": "Interalpha <hello@example.com>",
    }


def token_key() -> bytes:
    """The key that signs development tokens of these surroundings, for a peer to check them as we do."""
    return hmac.digest(SECRET, b"interalpha development token", hashlib.sha256)


@asynccontextmanager
async def simulators() -> AsyncIterator[Mapping[str, str]]:
    """Run the simulated companies in a process of their own; both sides use the same account there."""
    account = companies({"http": "", "smtp": "0"})
    async with _running(
        [sys.executable, "-m", "integrations.simulating.server"], {"PATH": os.environ["PATH"], **account}
    ) as process:
        yield json.loads(await said(process))


async def said(process: Process) -> str:
    """The next line a process says."""
    assert process.stdout is not None
    line = await process.stdout.readline()
    assert line, "a process ended before its time"
    return line.decode().strip()


async def tell(process: Process, word: str) -> None:
    """Tell a peer what to do, and wait until it says that it has done it."""
    assert process.stdin is not None
    process.stdin.write(f"{word}\n".encode())
    assert await said(process) == word


def processor_seconds(process: int) -> float:
    """How much of a processor a process has used so far: says more than a rate where others use the machine, too."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def free_port() -> int:
    """A port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@asynccontextmanager
async def _running(
    command: Sequence[str], environment: Mapping[str, str], cwd: Path | None = None
) -> AsyncIterator[Process]:
    errors = None if os.environ.get("BENCH_ERRORS") else DEVNULL
    process = await asyncio.create_subprocess_exec(
        *command, env=dict(environment), cwd=cwd or environment.get("HOME"), stdin=PIPE, stdout=PIPE, stderr=errors
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
            # Whoever was made to rest could not even end.
            process.send_signal(signal.SIGCONT)
        await process.wait()


async def _node() -> Sequence[str]:
    """Node, with the peers' packages installed as their lock names them."""
    npm = await asyncio.to_thread(find_npm, BENCH.parent)
    mark = PEERS / "node_modules" / ".package-lock.json"
    if not mark.exists() or mark.stat().st_mtime < (PEERS / "package-lock.json").stat().st_mtime:
        install = [*npm.command, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"]
        installing = await asyncio.create_subprocess_exec(*install, cwd=PEERS, env=dict(npm.environment))
        assert await installing.wait() == 0, "the peers could not be installed"
    return ["node"] if len(npm.command) == 1 else [npm.command[0]]
