"""Building the pages from `web/`, where they are missing or older than their sources: `make web`, `interalpha dev`."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from api.dev.node import NoNode, find_npm
from api.pages import GRAPHIQL

_CHECKOUT = Path(__file__).parents[3]
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
        # Scripts of packages are not needed to build, and whoever starts the API did not ask for them.
        for step in (("ci", "--ignore-scripts", "--no-audit", "--no-fund"), ("run", "build")):
            _run([*npm.command, *step], sources, npm.environment)
        staged = sources / "dist" / "graphiql"
        # What was edited meanwhile is newer than what was built.
        os.utime(staged / "index.html", (began, began))
        # Only now, so that nobody is served half a page.
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
        sys.exit(f"`npm {command[-1]}` was given up after {_BUILD_SECONDS:.0f} s")
    if ended.returncode != 0:
        sys.exit(f"The pages could not be built: `npm` ended with status {ended.returncode}, and said why above")


if __name__ == "__main__":
    build()
