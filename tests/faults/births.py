"""Asking the nursery for processes, and hearing of their ends."""

import asyncio
import json
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

PROGRAM = Path(__file__).with_name("nursery.py")
# A test run that is killed itself takes everything it started with it.
LEASH = ("setpriv", "--pdeathsig", "KILL", "--") if shutil.which("setpriv") else ()


@dataclass(eq=False)
class Born:
    """A process of the nursery's; has what is needed of asyncio's own Process."""

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
class Nursery:
    """The running program."""

    process: asyncio.subprocess.Process
    _ids: "count[int]" = field(default_factory=count)
    _expected: dict[int, asyncio.Future[int]] = field(default_factory=dict)
    _living: dict[int, Born] = field(default_factory=dict)

    async def bear(self, arguments: tuple[str, ...], environment: Mapping[str, str], log: Path) -> Born:
        """Start `interalpha` with these arguments."""
        number = next(self._ids)
        born = self._expected[number] = asyncio.get_running_loop().create_future()
        order = {
            "id": number,
            "arguments": arguments,
            "environment": dict(environment),
            "log": str(log),
            "folder": str(log.parent),
        }
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(order).encode() + b"\n")
        async with asyncio.timeout(20):
            pid = await born
        return self._living[pid]

    async def listen(self) -> None:
        """Take note of births and deaths."""
        assert self.process.stdout is not None
        while line := await self.process.stdout.readline():
            facts = json.loads(line)
            if "id" in facts:
                ended = asyncio.get_running_loop().create_future()
                self._living[facts["pid"]] = Born(facts["pid"], ended)
                self._expected.pop(facts["id"]).set_result(facts["pid"])
            elif "code" in facts:
                self._living.pop(facts["pid"]).ended.set_result(facts["code"])


@asynccontextmanager
async def nursery(environment: Mapping[str, str]) -> AsyncIterator[Nursery]:
    """Open a nursery; what it bore dies with it."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *LEASH, sys.executable, "-P", str(PROGRAM), env=dict(environment), stdin=pipe, stdout=pipe
    )
    assert process.stdout is not None
    async with asyncio.timeout(60):
        assert await process.stdout.readline(), "the nursery did not open"
    opened = Nursery(process)
    hearing = asyncio.create_task(opened.listen())
    try:
        yield opened
    finally:
        hearing.cancel()
        process.kill()
        await process.wait()
