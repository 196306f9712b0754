"""What PostgreSQL says of itself in the file `postmaster.pid`."""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Postmaster:
    """The server that wrote the file; it may be long dead. `is_ready` is false while it starts and while it leaves."""

    pid: int
    port: int
    is_ready: bool


def pid_file(data: Path) -> Path:
    """Name the file in a data folder."""
    return data / "postmaster.pid"


def read_postmaster(data: Path) -> Postmaster | None:
    """Read the file; None when there is none or it is not yet written to the end.

    Lines: pid, data folder, start time, port, socket folder, address, shared memory, status.
    """
    # https://www.postgresql.org/docs/18/storage-file-layout.html
    with suppress(FileNotFoundError, ValueError, IndexError):
        lines = pid_file(data).read_text().splitlines()
        return Postmaster(pid=int(lines[0]), port=int(lines[3]), is_ready=lines[7].strip() == "ready")
    return None
