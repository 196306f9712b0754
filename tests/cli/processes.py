"""`interalpha` run as a process in a folder without settings, and a `dev` that can be watched and ended."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from click.testing import Result

from devkit.embedded.process import command_line
from tests.servers import free_port

WORKING_FOLDER = tempfile.gettempdir()
"""Where the terminals stand: a folder without a .env."""
PROGRAM = str(Path(sys.executable).with_name("interalpha"))
START_SECONDS = 30.0
LAST_LINE = "Ctrl-C ends everything."


def cli_environment(folder: Path, **extra: str) -> dict[str, str]:
    """The environment of a new machine; `folder` holds the data. Without the Explorer, which would have to be built."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "INTERALPHA_HOME": str(folder),
        "EXPLORER": "off",
        **extra,
    }


def run_interalpha(folder: Path, *arguments: str, **extra: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, in a folder without a .env."""
    return subprocess.run(
        [PROGRAM, *arguments],
        cwd=WORKING_FOLDER,
        env=cli_environment(folder, **extra),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=40,
        check=False,
    )


def processes_of(mark: str) -> dict[int, str]:
    """The processes whose command line holds a mark, a data folder say."""
    numbers = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    return {number: line for number in numbers if mark in (line := command_line(number)) and number != os.getpid()}


def wait_until(condition: Callable[[], bool], seconds: float = 15.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(0.02)


@contextmanager
def started_process(command: list[str], **options: Any) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a program beside the test, and not longer than that."""
    process = subprocess.Popen(command, cwd=WORKING_FOLDER, stdin=subprocess.DEVNULL, **options)
    try:
        yield process
    finally:
        process.kill()
        process.communicate(timeout=20)


class Dev:
    """A running `interalpha dev`, with everything it says in a file."""

    def __init__(self, folder: Path, port: int, *options: str, screen: Path, **extra: str) -> None:
        self.folder = folder
        self.port = port
        self._screen = screen
        with screen.open("wb") as output:
            self.process = subprocess.Popen(
                [PROGRAM, "dev", "--port", str(port), *options],
                cwd=WORKING_FOLDER,
                env=cli_environment(folder, **extra),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def said(self) -> str:
        return self._screen.read_text()

    def wait_until_ready(self) -> None:
        wait_until(lambda: LAST_LINE in self.said or self.process.poll() is not None, START_SECONDS)
        assert LAST_LINE in self.said, self.said

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(timeout=20)


@contextmanager
def running_dev(folder: Path, *options: str, **extra: str) -> Iterator[Dev]:
    """Start one and wait until it is ready; nothing of it outlives the block."""
    dev = Dev(folder, free_port(), *options, screen=folder.with_name(f"{folder.name}.{time.monotonic_ns()}"), **extra)
    try:
        dev.wait_until_ready()
        yield dev
    finally:
        if dev.process.poll() is None:
            dev.end()


Run = Callable[..., Result]
