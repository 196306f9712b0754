"""Whose a folder is: ours bears a marker, and what somebody else keeps in theirs is neither overwritten nor removed."""

import json
import os
from pathlib import Path

from api.embedded.errors import NotOurs
from api.embedded.folder import ACCOUNTS, write_private

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
