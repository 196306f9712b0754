"""The data folder: who owns it, its lock, passwords and ports."""

import json
import os
import secrets
import socket
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from core.settings.addresses import LOOPBACK


class EmbeddedStoreError(Exception):
    """An embedded store cannot be had; the message ends with what to do about it."""


class FolderInUse(EmbeddedStoreError):
    """Another Interalpha runs on the same data folder."""

    def __init__(self, folder: Path, holder: str, remedy: str) -> None:
        super().__init__(f"{folder} is in use by another Interalpha (process {holder or 'unknown'}). {remedy}")


class NotOurs(EmbeddedStoreError):
    """The folder is not one of Interalpha's."""


# The data folder: passwords, last used ports, and safe writing of files.


ACCOUNTS = ("postgres", "interalpha_migrate", "interalpha_app", "interalpha_worker", "valkey")


def read_passwords(folder: Path) -> Mapping[str, str]:
    """Read the password of every account from the folder; at the first time they are drawn at random."""
    path = folder / "secrets.json"
    if not path.exists():
        write_private(path, json.dumps({account: secrets.token_hex(24) for account in ACCOUNTS}, indent=2))
    try:
        known = json.loads(path.read_text())
        return {account: str(known[account]) for account in ACCOUNTS}
    except (ValueError, KeyError, TypeError):
        raise EmbeddedStoreError(
            f"{path} cannot be read. Restore it, or start afresh: remove {folder}, and the data with it"
        ) from None


def erase_passwords(folder: Path) -> None:
    """Forget the passwords, once nothing is left that they open."""
    (folder / "secrets.json").unlink(missing_ok=True)


def write_private(path: Path, text: str) -> None:
    """Write a file only its owner can read, whole or not at all."""
    draft = path.with_name(f"{path.name}.new")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def choose_port(memory: Path) -> int:
    """Give the port remembered in a file if it is free, or else any free one, and remember that."""
    wishes = [0]
    with suppress(FileNotFoundError, ValueError):
        wishes.insert(0, int(memory.read_text()))
    for wish in wishes:
        with socket.socket() as probe, suppress(OSError, OverflowError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((LOOPBACK, wish))
            port = int(probe.getsockname()[1])
            write_private(memory, str(port))
            return port
    raise EmbeddedStoreError(f"No port is free on {LOOPBACK}. Set DATABASE_URL and REDIS_URL to servers elsewhere")


# Ownership: our folders contain a marker file; other folders are not overwritten or removed.


MARKER = ".interalpha-data"
REMEDY = "Give Interalpha a folder of its own: --data another/folder, or INTERALPHA_HOME"
# Everything that the stores and `interalpha dev` write, empty or remove, apart from the lock.
_NAMES = (
    *("postgres", "postgres.new", "postgres.password", "postgres.port", "postgres.log"),
    *("valkey", "valkey.port", "valkey.log"),
    *("secrets.json", "keys", "dev.env", "logs"),
)


def ensure_ours(folder: Path) -> None:
    """Raise NotOurs unless the folder is one that we made our own."""
    if folder.is_file():
        raise NotOurs(f"{folder} is a file, not a data folder of Interalpha; nothing was removed.")
    if not _is_ours(folder):
        raise NotOurs(f"{folder} is not a data folder of Interalpha; nothing was removed.")


def ensure_nobody_elses(folder: Path) -> None:
    """Raise NotOurs when something lies where we would write, and we did not put it there."""
    if folder.is_file():
        raise NotOurs(f"{folder} is a file. {REMEDY}")
    if _is_ours(folder):
        return
    if found := [name for name in _NAMES if os.path.lexists(folder / name)]:
        what = ", ".join(found)
        raise NotOurs(
            f"{folder} is not a data folder of Interalpha, and in it lies what would be overwritten: {what}. "
            f"Nothing was touched. {REMEDY}"
        )


def mark(folder: Path) -> None:
    """Make the folder ours, for as long as there is something of ours in it."""
    if not (folder / MARKER).exists():
        write_private(folder / MARKER, "Interalpha keeps its data in this folder; `interalpha reset` removes it.\n")


def unmark(folder: Path) -> None:
    """Give the folder up, once nothing of ours is left in it."""
    (folder / MARKER).unlink(missing_ok=True)


def _is_ours(folder: Path) -> bool:
    return (folder / MARKER).is_file() or _holds_our_passwords(folder / "secrets.json")


def _holds_our_passwords(path: Path) -> bool:
    """Tell whether a file is what the first versions left, which knew no marker."""
    if not path.is_file():
        return False
    try:
        known = json.loads(path.read_text())
    except ValueError:
        return False
    return isinstance(known, dict) and known.keys() >= set(ACCOUNTS)


# The lock of the data folder: one process at a time.


LOCK = "lock"


class FolderLock:
    """A lock on the folder that the system itself releases when its holder dies."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._handle: int | None = None

    @property
    def is_held(self) -> bool:
        """Tell whether we hold it."""
        return self._handle is not None

    def take(self) -> None:
        """Make the folder if need be, make it ours and hold it; raises FolderInUse and NotOurs."""
        ensure_nobody_elses(self._folder)
        self._hold("Stop that one, or give this one a folder of its own: --data another/folder")
        mark(self._folder)

    def take_again(self) -> None:
        """Hold a folder that is ours already; raises FolderInUse, and NotOurs without having touched anything."""
        ensure_ours(self._folder)
        self._hold("Stop that one first.")

    def release(self) -> None:
        """Let the folder go; the file stays, for removing it could let two in at once."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None

    def _hold(self, remedy: str) -> None:
        try:
            import fcntl  # here, because Windows has none and must still be able to import this module
        except ModuleNotFoundError:
            raise EmbeddedStoreError(
                "The embedded stores do not run on this system. Set DATABASE_URL and REDIS_URL to servers elsewhere"
            ) from None
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not os.access(self._folder, os.W_OK | os.X_OK):
            raise EmbeddedStoreError(
                f"{self._folder} cannot be written to: it is read-only, or another user's. {REMEDY}"
            )
        handle = os.open(self._folder / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(handle, 32).decode(errors="replace")
            os.close(handle)
            raise FolderInUse(self._folder, holder, remedy) from None
        os.ftruncate(handle, 0)
        os.write(handle, str(os.getpid()).encode())
        self._handle = handle
