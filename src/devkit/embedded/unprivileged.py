"""Where PostgreSQL runs and as whom: it refuses root, so root runs it in a user namespace or, without those, as nobody.

The account `nobody` enters no folder of root's, often not even that of the binaries. Both then live in a refuge under
/var/lib, and a link in the data folder leads there. Nothing that was there before is opened, and no user is made.
"""

import logging
import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from devkit.embedded.folder import EmbeddedStoreError
from devkit.embedded.process import Log, Process, spawn, succeeds

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
    """Tell whether this system lets us be somebody else in a namespace of our own."""
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
