"""A server process and its log: started as an unprivileged account, adopted, stopped within a deadline."""

import asyncio
import importlib.util
import logging
import math
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from devkit.embedded.folder import EmbeddedStoreError

_LARGEST = 10 * 1024 * 1024


class Log:
    """Where a server's words go; remembers where those of its latest start begin."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._start = 0

    def open(self) -> int:
        """Open the file to append to, emptied first when it has grown too large."""
        handle = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        if os.fstat(handle).st_size > _LARGEST:
            os.ftruncate(handle, 0)
        self._start = os.fstat(handle).st_size
        return handle

    def tail(self, lines: int = 8) -> str:
        """Give the last lines written since the latest start."""
        with self.path.open("rb") as file:
            file.seek(self._start)
            words = file.read().decode(errors="replace").splitlines()
        return "\n".join(words[-lines:])

    def failure(self, what: str, remedy: str) -> EmbeddedStoreError:
        """Make the error that says what went wrong, the last words about it, and what to do."""
        return EmbeddedStoreError(f"{what}. The end of {self.path}:\n{self.tail()}\n{remedy}")


# A server process: started in its own session, ends with its parent, stopped within a deadline, or adopted.


POLL_SECONDS = 0.01
STOP_SECONDS = 10.0
_PROBE_SECONDS = 5.0


class Process:
    """A running server: our child, or the orphan of an earlier run, known by a mark in its command line."""

    def __init__(self, pid: int, *, mark: str = "", child: subprocess.Popen[bytes] | None = None) -> None:
        self.pid = pid
        self._mark = mark
        self._child = child

    def is_running(self) -> bool:
        """Tell whether it still runs; a number that another process has now does not count."""
        if self._child is not None:
            return self._child.poll() is None
        return self._mark in command_line(self.pid)

    @property
    def exit_code(self) -> int | None:
        """How our child ended; None before that, and for an orphan."""
        return None if self._child is None else self._child.returncode

    async def ended(self, timeout: float = math.inf) -> bool:
        """Wait for the end, and say whether it came in time."""
        deadline = time.monotonic() + timeout
        while self.is_running():
            if time.monotonic() > deadline:
                return False
            await asyncio.sleep(POLL_SECONDS)
        return True

    async def stop(self) -> None:
        """Ask it to end (SIGINT: both servers end at once and in good order), and kill it when it does not."""
        for request in (signal.SIGINT, signal.SIGKILL):
            if self.is_running():
                with suppress(ProcessLookupError):
                    os.kill(self.pid, request)
                if await self.ended(STOP_SECONDS):
                    return


def spawn(
    arguments: Sequence[str], log: Log, *, at_our_death: str = "INT", uid: int | None = None, gid: int | None = None
) -> Process:
    """Start a server in a session of its own, so that the terminal's Ctrl-C does not reach it.

    Linux sends it the signal `at_our_death` when the thread that called this ends: call it from the main one.
    """
    output = log.open()
    try:
        child = subprocess.Popen(
            [*_leash(at_our_death), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd="/",
            # Nothing of ours: neither PGPORT and its like, nor the keys of providers.
            env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"},
            start_new_session=True,
            user=uid,
            group=gid,
            extra_groups=None if uid is None else [],
        )
    finally:
        os.close(output)
    return Process(child.pid, child=child)


def succeeds(*arguments: str) -> bool:
    """Tell whether a short command runs and ends well."""
    try:
        probe = subprocess.run(arguments, capture_output=True, timeout=_PROBE_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return probe.returncode == 0


def command_line(pid: int) -> str:
    """Give the command line of a process, or nothing for one that is gone or dead and not yet buried."""
    if Path("/proc/self/cmdline").exists():
        try:
            return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="surrogateescape")
        except (FileNotFoundError, ProcessLookupError):
            return ""
    found = subprocess.run(
        ["ps", "-ww", "-o", "command=", "-p", str(pid)], capture_output=True, timeout=_PROBE_SECONDS, check=False
    )
    return found.stdout.decode(errors="surrogateescape").replace("\n", " ")


@cache
def _leash(signal_name: str) -> tuple[str, ...]:
    # Calling prctl ourselves would mean running Python between fork and exec, which is unsafe beside threads.
    setpriv = shutil.which("setpriv")
    if setpriv and succeeds(setpriv, "--pdeathsig", signal_name, "--", "true"):
        return (setpriv, "--pdeathsig", signal_name, "--")
    return ()


def find_package(name: str, variable: str) -> Path:
    """Return the folder of an installed package without importing it; `variable` is the setting that replaces it."""
    found = importlib.util.find_spec(name)
    if found is None or found.origin is None:
        raise EmbeddedStoreError(
            f"The package {name} is not installed. Run: pip install 'interalpha[embedded]' (Linux with glibc, macOS). "
            f"Or set {variable} to a server elsewhere"
        )
    return Path(found.origin).parent


# Where PostgreSQL runs and as whom: it refuses root, so root runs it in a user namespace or, without those, as
# nobody.
#
# The account `nobody` enters no folder of root's, often not even that of the binaries. Both then live in a refuge
# under
# /var/lib, and a link in the data folder leads there. Nothing that was there before is opened, and no user is made.


REFUGES = Path("/var/lib/interalpha")
_NAMESPACE = ("unshare", "--user", "--map-user=1000", "--map-group=1000", "--")


@dataclass(frozen=True, slots=True)
class Lodging:
    """Where the binaries and the data are, what goes before a command, and which account it runs under if not ours."""

    binaries: Path
    data: Path
    prefix: tuple[str, ...] = ()
    uid: int | None = None
    gid: int | None = None

    def spawn(self, binary: str, arguments: Sequence[str], log: Log) -> Process:
        """Start one of the binaries."""
        return spawn([*self.prefix, str(self.binaries / binary), *arguments], log, uid=self.uid, gid=self.gid)

    def hand_over(self, path: Path) -> None:
        """Give a file or an empty folder to the account the server runs under."""
        if self.uid is not None and self.gid is not None:
            os.chown(path, self.uid, self.gid)


def find_lodging(package: Path, binaries: str, data: Path) -> Lodging:
    """Say where the binaries of an installed package (`binaries` is their folder in it) may work on this data."""
    if os.geteuid() != 0:
        return Lodging(package / binaries, data.resolve())
    refuge = refuge_of(data)
    if refuge and not refuge.exists():
        logging.getLogger(__name__).warning("%s is gone, and the data in it: starting with an empty database", refuge)
        data.unlink()
        refuge = None
    if refuge is None and namespaces_allowed():
        return Lodging(package / binaries, data.resolve(), prefix=_NAMESPACE)
    if refuge is None and data.exists():
        raise EmbeddedStoreError(
            f"{data} was made where root may use user namespaces, and here it may not. "
            "Run as an ordinary user, give another folder with --data, or set DATABASE_URL"
        )
    refuge = refuge or _make_refuge(data)
    uid, gid = _nobody()
    return Lodging(_copy_binaries(package, refuge) / binaries, refuge / "postgres", uid=uid, gid=gid)


def namespaces_allowed() -> bool:
    """Tell whether this system lets us be another user in a namespace of our own."""
    return succeeds(*_NAMESPACE, "true")


def refuge_of(data: Path) -> Path | None:
    """Give the refuge that this data was taken into, if it was."""
    if data.is_symlink() and data.readlink().parent.parent == REFUGES.resolve():
        return data.readlink().parent
    return None


def _make_refuge(data: Path) -> Path:
    REFUGES.mkdir(parents=True, exist_ok=True)
    refuge = Path(tempfile.mkdtemp(dir=REFUGES.resolve()))
    for folder in (REFUGES, refuge):
        folder.chmod(0o711)
    data.symlink_to(refuge / "postgres")
    return refuge


def _copy_binaries(package: Path, refuge: Path) -> Path:
    """Copy what a wheel installed, once per installed version, readable for all whatever our umask was."""
    made = package.stat()
    shelf = refuge / f"binaries-{made.st_ino:x}-{made.st_mtime_ns:x}"
    if not shelf.exists():
        for old in refuge.glob("binaries-*"):
            shutil.rmtree(old)
        draft = refuge / "binaries-draft"
        unneeded = shutil.ignore_patterns("pginstall", "include", "__pycache__")
        # The binaries look for their libraries in a folder beside the package.
        for folder in (package, package.with_name(f"{package.name}.libs")):
            if folder.exists():
                shutil.copytree(folder, draft / folder.name, ignore=unneeded)
        for path in (draft, *draft.rglob("*")):
            path.chmod(0o755)
        draft.rename(shelf)
    return shelf / package.name


def _nobody() -> tuple[int, int]:
    import pwd  # absent on Windows, where this module must import all the same

    try:
        nobody = pwd.getpwnam("nobody")
    except KeyError:
        return 65534, 65534
    return nobody.pw_uid, nobody.pw_gid
