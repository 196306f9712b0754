"""One process of the system under test: started, killed, frozen, told to end, started again."""

import asyncio
import os
import signal
import socket
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tests.faults.births import LEASH, Born, Nursery
from tests.faults.skew import prelude

_RUN = """
import os
if "FAULT_WITHOUT" in os.environ:
    from tests.faults.switched_off import apply
    apply()
from api.cli import main
main()
"""


@dataclass(eq=False)
class Part:
    """A process running `interalpha`; what it prints goes to a file.

    The nursery bears it, unless its clock is to be wrong (`skew` is how many seconds ahead) or it announces on stdout
    where it listens.
    """

    name: str
    arguments: tuple[str, ...]
    environment: Mapping[str, str]
    folder: Path
    nursery: Nursery | None = None
    skew: float = 0.0
    process: asyncio.subprocess.Process | Born | None = None
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
            if self.nursery is not None and not self.skew:
                self.process = await self.nursery.bear(self.arguments, self.environment, self.log)
            else:
                self.process = await self._spawn()

    async def _spawn(self) -> asyncio.subprocess.Process:
        with self.log.open("ab") as log:
            return await asyncio.create_subprocess_exec(
                *LEASH,
                sys.executable,
                "-c",
                prelude(self.skew) + _RUN,
                *self.arguments,
                env=self.environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                # Where no .env lies.
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
        # Whose end nobody has told us of yet may be gone already.
        if self.is_running:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    async def kill(self) -> None:
        """kill -9, and see it dead."""
        self.signal(signal.SIGKILL)
        if self.process is not None:
            await self.process.wait()

    def freeze(self) -> None:
        self.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.signal(signal.SIGCONT)

    async def end(self, within: float = 40) -> tuple[int, float]:
        """Tell it to end; returns its exit status and how long it took."""
        began = time.monotonic()
        self.signal(signal.SIGTERM)
        assert self.process is not None
        async with asyncio.timeout(within):
            code = await self.process.wait()
        return code, time.monotonic() - began
