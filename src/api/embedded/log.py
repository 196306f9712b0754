"""The log of a server, and what it says when a start fails."""

import os
from pathlib import Path

from api.embedded.errors import EmbeddedStoreError

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
