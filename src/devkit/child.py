"""One part of `interalpha dev` in a process of its own: `python -m devkit.child PART FOLDER`.

It imports what it needs, and only then reads its settings, one line of JSON, from stdin: so the imports take no longer
than the stores, and no secret stands in a command line or an environment. The pipe stays open while the supervisor
lives; when it closes, however the supervisor died, the part ends too.
"""

import asyncio
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping

# Seconds that a server which is starting up, or drops its first connection, is waited for.
_TRIES = 20

Run = Callable[[Mapping[str, str]], None]


def _api() -> Run:
    from api.configuration import load_configuration
    from api.http.server import run
    from core.settings.addresses import LOOPBACK

    return lambda settings: run(load_configuration(settings), host=LOOPBACK, port=int(settings["PORT"]))


def _worker() -> Run:
    from api.configuration import load_configuration
    from api.worker.process import run

    return lambda settings: run(load_configuration(settings))


def _simulators() -> Run:
    from integrations.simulating.server import Settings, run

    return lambda settings: asyncio.run(run(Settings.read(settings)))


def _migrations() -> Run:
    import alembic.command  # noqa: F401  # api.migrations would import it when the database is already waiting

    from api.database_commands import seed
    from api.migrations import head_revision, upgrade
    from core.store_faults import database_fault

    def migrate(settings: Mapping[str, str]) -> None:
        address = settings.get("DATABASE_URL_DIRECT") or settings["DATABASE_URL"]
        for tries_left in reversed(range(_TRIES)):
            try:
                upgrade(address)
                asyncio.run(seed(address))
            except Exception as error:
                fault = database_fault(error)
                if fault is None:
                    raise
                if not fault.passes or fault.code in ("UNREACHABLE", "UNKNOWN_HOST") or not tries_left:
                    sys.exit(f"The database does not serve us. {fault} It is the one that DATABASE_URL names.")
                time.sleep(1)
            else:
                break
        sys.stdout.write(json.dumps({"revision": head_revision()}) + "\n")

    return migrate


def _pages() -> Run:
    from devkit.pages import build

    return lambda _: build()


# Each part imports its own only: what it does not need would cost it seconds.
_PARTS: dict[str, Callable[[], Run]] = {
    "api": _api,
    "worker": _worker,
    "simulators": _simulators,
    "migrations": _migrations,
    "pages": _pages,
}


def main() -> None:
    """Run the part that the command line names."""
    run = _PARTS[sys.argv[1]]()
    from api.logs import configure_logging

    line = sys.stdin.readline()
    if not line:
        return
    settings = json.loads(line)
    threading.Thread(target=_end_with_supervisor, daemon=True).start()
    configure_logging(settings.get("LOG_LEVEL", "info"), as_json=False)
    run(settings)


def _end_with_supervisor() -> None:
    # Nothing more is ever written: the read returns when the other end is gone. The stores went with it, so there is
    # nobody left to finish anything with.
    os.read(0, 1)
    # A part leads a group of its own, with whatever it has started.
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    main()
