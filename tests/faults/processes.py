"""One process of the product: started from a fork server or by itself, killed, frozen, shut down, started again."""

import asyncio
import json
import os
import shutil
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

FORK_SERVER = Path(__file__).with_name("fork_server.py")
# A test run that is killed itself takes everything it started with it.
END_WITH_PARENT = ("setpriv", "--pdeathsig", "KILL", "--") if shutil.which("setpriv") else ()


@dataclass(eq=False)
class ForkedProcess:
    """A child of the fork server, with what is used of `asyncio.subprocess.Process`."""

    pid: int
    ended: asyncio.Future[int]

    @property
    def returncode(self) -> int | None:
        return self.ended.result() if self.ended.done() else None

    async def wait(self) -> int:
        return await asyncio.shield(self.ended)

    def send_signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)


@dataclass(eq=False)
class ForkServer:
    """A running `fork_server.py`, which starts processes of the product on request."""

    process: asyncio.subprocess.Process
    _ids: "count[int]" = field(default_factory=count)
    _requested: dict[int, asyncio.Future[int]] = field(default_factory=dict)
    _running: dict[int, ForkedProcess] = field(default_factory=dict)

    async def fork(self, arguments: tuple[str, ...], environment: Mapping[str, str], log: Path) -> ForkedProcess:
        """Start `interalpha` with these arguments."""
        number = next(self._ids)
        forked = self._requested[number] = asyncio.get_running_loop().create_future()
        request = {
            "id": number,
            "arguments": arguments,
            "environment": dict(environment),
            "log": str(log),
            "folder": str(log.parent),
        }
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(request).encode() + b"\n")
        async with asyncio.timeout(20):
            pid = await forked
        return self._running[pid]

    async def listen(self) -> None:
        """Read which processes have started and ended."""
        assert self.process.stdout is not None
        while line := await self.process.stdout.readline():
            facts = json.loads(line)
            if "id" in facts:
                ended = asyncio.get_running_loop().create_future()
                self._running[facts["pid"]] = ForkedProcess(facts["pid"], ended)
                self._requested.pop(facts["id"]).set_result(facts["pid"])
            elif "code" in facts:
                self._running.pop(facts["pid"]).ended.set_result(facts["code"])


@asynccontextmanager
async def fork_server(environment: Mapping[str, str]) -> AsyncIterator[ForkServer]:
    """Start a fork server; the processes it started end with it."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *END_WITH_PARENT, sys.executable, "-P", str(FORK_SERVER), env=dict(environment), stdin=pipe, stdout=pipe
    )
    assert process.stdout is not None
    async with asyncio.timeout(60):
        assert await process.stdout.readline(), "the fork server did not start"
    server = ForkServer(process)
    listening = asyncio.create_task(server.listen())
    try:
        yield server
    finally:
        listening.cancel()
        process.kill()
        await process.wait()


# Runs before anything else is imported.
_CLOCK_AHEAD = """
import datetime, time
_ahead = {ahead!r}
_time, _time_ns, _Datetime = time.time, time.time_ns, datetime.datetime
time.time = lambda: _time() + _ahead
time.time_ns = lambda: _time_ns() + int(_ahead * 1e9)

class _Like(type(_Datetime)):
    # C code makes instances of the original class: they must pass as instances of this one.
    def __instancecheck__(cls, instance):
        return isinstance(instance, _Datetime)

class _Skewed(_Datetime, metaclass=_Like):
    @classmethod
    def now(cls, tz=None):
        return _Datetime.now(tz) + datetime.timedelta(seconds=_ahead)

    @classmethod
    def utcnow(cls):
        return _Datetime.utcnow() + datetime.timedelta(seconds=_ahead)

datetime.datetime = _Skewed
"""


def clock_ahead(ahead: float) -> str:
    """Python code that sets the clock of its process ahead by so many seconds; empty for 0."""
    return _CLOCK_AHEAD.format(ahead=ahead) if ahead else ""


_RUN = """
import os
if "FAULT_WITHOUT" in os.environ:
    from tests.faults.switched_off import apply
    apply()
from api.cli import main
main()
"""


@dataclass(eq=False)
class Process:
    """A process that runs `interalpha` and prints to a file.

    The fork server starts it, except where its clock is wrong (`skew` is how many seconds it is ahead) or where it
    prints its address to stdout.
    """

    name: str
    arguments: tuple[str, ...]
    environment: Mapping[str, str]
    folder: Path
    fork_server: ForkServer | None = None
    skew: float = 0.0
    process: asyncio.subprocess.Process | ForkedProcess | None = None
    _starting: asyncio.Lock | None = None

    @property
    def log(self) -> Path:
        return self.folder / f"{self.name}.log"

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    @property
    def worker_name(self) -> str:
        """What a worker calls itself in the database."""
        return f"{socket.gethostname()}:{self.pid}"

    @property
    def is_running(self) -> bool:
        return self.process is not None and self.process.returncode is None

    async def start(self) -> None:
        """Start it unless it runs."""
        self._starting = self._starting or asyncio.Lock()
        async with self._starting:
            if self.is_running:
                return
            if self.fork_server is not None and not self.skew:
                self.process = await self.fork_server.fork(self.arguments, self.environment, self.log)
            else:
                self.process = await self._spawn()

    async def _spawn(self) -> asyncio.subprocess.Process:
        with self.log.open("ab") as log:
            return await asyncio.create_subprocess_exec(
                *END_WITH_PARENT,
                sys.executable,
                "-c",
                clock_ahead(self.skew) + _RUN,
                *self.arguments,
                env=self.environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                # A folder without a .env file.
                cwd=self.folder,
            )

    async def first_line(self) -> str:
        assert isinstance(self.process, asyncio.subprocess.Process)
        assert self.process.stdout is not None
        async with asyncio.timeout(30):
            line = (await self.process.stdout.readline()).decode()
        assert line, self.log.read_text()
        return line

    def signal(self, number: signal.Signals) -> None:
        # It may have ended before the fork server said so.
        if self.is_running:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    async def kill(self) -> None:
        """Kill it with SIGKILL and wait for its end."""
        self.signal(signal.SIGKILL)
        if self.process is not None:
            await self.process.wait()

    def freeze(self) -> None:
        self.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.signal(signal.SIGCONT)

    async def end(self, within: float = 40) -> tuple[int, float]:
        """Send SIGTERM; return its exit status and how long the shutdown took."""
        began = time.monotonic()
        self.signal(signal.SIGTERM)
        assert self.process is not None
        async with asyncio.timeout(within):
            code = await self.process.wait()
        return code, time.monotonic() - began
