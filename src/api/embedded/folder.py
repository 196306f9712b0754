"""The data folder: held by one process at a time, with its passwords and the ports of last time."""

import json
import os
import secrets
import socket
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from api.embedded.errors import EmbeddedStoreError, FolderInUse

LOOPBACK = "127.0.0.1"
ACCOUNTS = ("postgres", "interalpha_migrate", "interalpha_app", "interalpha_worker", "valkey")


class FolderLock:
    """A lock on the folder that the system itself releases when its holder dies."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._handle: int | None = None

    def take(self) -> None:
        """Make the folder if need be and hold it; raises FolderInUse."""
        try:
            import fcntl  # here, because Windows has none and must still be able to import this module
        except ModuleNotFoundError:
            raise EmbeddedStoreError(
                "The embedded stores do not run on this system. Set DATABASE_URL and REDIS_URL to servers elsewhere"
            ) from None
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(handle, 32).decode(errors="replace")
            os.close(handle)
            raise FolderInUse(self._folder, holder) from None
        os.ftruncate(handle, 0)
        os.write(handle, str(os.getpid()).encode())
        self._handle = handle

    def release(self) -> None:
        """Let the folder go; the file stays, for removing it could let two in at once."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None


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
