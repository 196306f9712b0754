"""One process at a time in the data folder."""

import os
from pathlib import Path

from api.embedded.errors import EmbeddedStoreError, FolderInUse
from api.embedded.ownership import REMEDY, ensure_nobody_elses, ensure_ours, mark

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
