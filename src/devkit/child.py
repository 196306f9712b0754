"""A part of `interalpha dev` in a process of its own: its settings, its output, and its restarts and stop."""

import asyncio
import json
import os
import re
import signal
import sys
import threading
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from typing import Any

from devkit.home import Home

_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 10.0
_HEALTHY_SECONDS = 30.0
_STRUCTURED = re.compile(r"\S+ \[(warning|error|critical) *\] (.*)")


class PartFailed(Exception):
    """A part ended before everything was ready; the message says where to read why."""


class Part:
    """A process that runs `devkit.child`. `say` is told, in words, what a person should know of it."""

    def __init__(self, name: str, home: Home, say: Callable[[str, str], None]) -> None:
        self.name = name
        self.announced: asyncio.Future[Mapping[str, Any]] = asyncio.get_running_loop().create_future()
        self.may_be_restarted = False
        self._log = home.logs / f"{name}.log"
        self._folder = home.folder
        self._say = say
        self._settings: asyncio.Future[Mapping[str, str]] = asyncio.get_running_loop().create_future()
        self._process: Process | None = None
        self._is_stopping = False
        self._ended = asyncio.Event()

    def give(self, settings: Mapping[str, str]) -> None:
        """Hand over its settings; the process that imports meanwhile begins its work, and so does each after it."""
        if self._settings.done():
            self._settings = asyncio.get_running_loop().create_future()
        self._settings.set_result(settings)

    async def keep(self) -> None:
        """Run it until it is stopped; raises PartFailed when it ends before it may be restarted."""
        pause = _FIRST_PAUSE
        try:
            while not self._is_stopping:
                began = time.monotonic()
                code = await self._run()
                if self._is_stopping:
                    break
                if not self.may_be_restarted:
                    raise self._failure(code)
                pause = _FIRST_PAUSE if time.monotonic() - began > _HEALTHY_SECONDS else pause
                self._say(self.name, f"ended ({_ending(code)}), see {self._log}. Starting it again in {pause:g} s")
                with suppress(TimeoutError):
                    async with asyncio.timeout(pause):
                        await self._ended.wait()
                pause = min(pause * 2, _LONGEST_PAUSE)
        finally:
            self._ended.set()

    async def run_once(self) -> None:
        """Run it to its end; raises PartFailed when that is not a good one."""
        code = await self._run()
        if code != 0:
            raise self._failure(code)

    async def stop(self, limit: float, haste: asyncio.Event) -> None:
        """Ask it to end, and kill it when the time is over or there is no more time."""
        self._is_stopping = True
        if self._process is None:
            self._ended.set()
            return
        self._signal(self._process.terminate)
        with suppress(TimeoutError):
            async with asyncio.timeout(limit):
                waits = [asyncio.create_task(event.wait()) for event in (self._ended, haste)]
                try:
                    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    for wait in waits:
                        wait.cancel()
        if self._process is not None:
            self._kill(self._process)
            await self._ended.wait()

    async def _run(self) -> int:
        process = self._process = await asyncio.create_subprocess_exec(
            # -P: a folder `api` where we happen to stand is not ours.
            *(sys.executable, "-P", "-m", "devkit.child", self.name, str(self._folder)),
            stdin=PIPE,
            stdout=PIPE,
            stderr=PIPE,
            # The terminal's Ctrl-C is for the supervisor, who ends its parts in order.
            start_new_session=True,
        )
        handing = asyncio.create_task(self._hand_over(process))
        try:
            if self._is_stopping:
                self._signal(process.terminate)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._hear(process))
                tasks.create_task(self._write_log(process))
            return await process.wait()
        finally:
            handing.cancel()
            if process.returncode is None:
                self._kill(process)
                await process.wait()
            self._process = None

    async def _hand_over(self, process: Process) -> None:
        settings = await asyncio.shield(self._settings)
        # Who died while importing is reported by its exit status.
        with suppress(BrokenPipeError, ConnectionResetError):
            if process.stdin is not None:
                process.stdin.write(json.dumps(settings).encode() + b"\n")
                await process.stdin.drain()

    async def _hear(self, process: Process) -> None:
        async for line in _lines(process.stdout):
            if not self.announced.done():
                self.announced.set_result(json.loads(line))

    async def _write_log(self, process: Process) -> None:
        with self._log.open("a", encoding="utf-8", buffering=1) as log:
            async for line in _lines(process.stderr):
                log.write(f"{line}\n")
                if found := _STRUCTURED.match(line):
                    self._say(self.name, f"{found[1].lower()}: {' '.join(found[2].split())}")

    def _failure(self, code: int) -> PartFailed:
        words = self._log.read_text(encoding="utf-8").splitlines()[-5:]
        end = "\n".join(("The end of its log:", *words)) if words else "It said nothing."
        return PartFailed(f"The {self.name} process failed ({_ending(code)}). {end}\nAll of it: {self._log}")

    @classmethod
    def _kill(cls, process: Process) -> None:
        """Kill it with whatever it has started: it leads a group of its own."""
        cls._signal(lambda: os.killpg(process.pid, signal.SIGKILL))

    @staticmethod
    def _signal(send: Callable[[], None]) -> None:
        with suppress(ProcessLookupError):
            send()


def _ending(code: int) -> str:
    return f"exit status {code}" if code >= 0 else f"signal {-code}"


async def _lines(stream: asyncio.StreamReader | None) -> AsyncIterator[str]:
    """Yield lines of any length, which the stream's own way of reading them does not allow."""
    rest = b""
    while stream is not None and (chunk := await stream.read(65_536)):
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            yield line.decode(errors="replace")
    if rest:
        yield rest.decode(errors="replace")


# One part of `interalpha dev` in a process of its own: `python -m devkit.child PART FOLDER`.
#
# It imports what it needs, and only then reads its settings, one line of JSON, from stdin: so the imports take no
# longer
# than the stores, and no secret stands in a command line or an environment. The pipe stays open while the supervisor
# lives; when it closes, however the supervisor died, the part ends too.


# Seconds that a server which is starting up, or drops its first connection, is waited for.
_TRIES = 20

Run = Callable[[Mapping[str, str]], None]


def _api() -> Run:
    from api.configuration import load_configuration
    from api.http.server import run
    from core.settings.addresses import LOOPBACK

    return lambda settings: run(load_configuration(settings), host=LOOPBACK, port=int(settings["PORT"]))


def _worker() -> Run:
    from api.configuration import load_configuration
    from api.worker.process import run

    return lambda settings: run(load_configuration(settings))


def _simulators() -> Run:
    from integrations.simulating.server import Settings, run

    return lambda settings: asyncio.run(run(Settings.read(settings)))


def _migrations() -> Run:
    import alembic.command  # noqa: F401  # api.migrations would import it when the database is already waiting

    from api.database_commands import seed
    from api.migrations import head_revision, upgrade
    from core.store_faults import database_fault

    def migrate(settings: Mapping[str, str]) -> None:
        address = settings.get("DATABASE_URL_DIRECT") or settings["DATABASE_URL"]
        for tries_left in reversed(range(_TRIES)):
            try:
                upgrade(address)
                asyncio.run(seed(address))
            except Exception as error:
                fault = database_fault(error)
                if fault is None:
                    raise
                if not fault.passes or fault.code in ("UNREACHABLE", "UNKNOWN_HOST") or not tries_left:
                    sys.exit(f"The database does not serve us. {fault} It is the one that DATABASE_URL names.")
                time.sleep(1)
            else:
                break
        sys.stdout.write(json.dumps({"revision": head_revision()}) + "\n")

    return migrate


def _pages() -> Run:
    from devkit.pages import build

    return lambda _: build()


# Each part imports its own only: what it does not need would cost it seconds.
_PARTS: dict[str, Callable[[], Run]] = {
    "api": _api,
    "worker": _worker,
    "simulators": _simulators,
    "migrations": _migrations,
    "pages": _pages,
}


def main() -> None:
    """Run the part that the command line names."""
    run = _PARTS[sys.argv[1]]()
    from api.logs import configure_logging

    line = sys.stdin.readline()
    if not line:
        return
    settings = json.loads(line)
    threading.Thread(target=_end_with_supervisor, daemon=True).start()
    configure_logging(settings.get("LOG_LEVEL", "info"), as_json=False)
    run(settings)


def _end_with_supervisor() -> None:
    # Nothing more is ever written: the read returns when the other end is gone. The stores went with it, so there is
    # no one left to finish anything with.
    os.read(0, 1)
    # A part leads a group of its own, with whatever it has started.
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    main()
