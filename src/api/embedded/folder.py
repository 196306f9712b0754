"""The data folder: its passwords, the ports of last time, and how a file is written there."""

import json
import os
import secrets
import socket
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from api.embedded.errors import EmbeddedStoreError

LOOPBACK = "127.0.0.1"
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
