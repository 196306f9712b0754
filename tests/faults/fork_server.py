"""Starts processes of the product in hundredths of a second: it has imported everything, and forks."""

import ctypes
import json
import os
import select
import signal
import sys
from collections.abc import Callable

_SET_DEATH_SIGNAL = 1
_TURN = 0.02


def serve() -> Callable[[], object] | None:
    """Take orders until stdin ends; in a child, what it is to run comes back."""
    pending = b""
    while True:
        ready, _, _ = select.select([0], [], [], _TURN)
        if ready:
            piece = os.read(0, 65_536)
            if not piece:
                return None
            pending += piece
        while b"\n" in pending:
            line, _, pending = pending.partition(b"\n")
            order = json.loads(line)
            pid = os.fork()
            if pid == 0:
                return lambda: become(order)
            say(id=order["id"], pid=pid)
        bury()


def bury() -> None:
    """Tell of each child that has ended."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        say(pid=pid, code=os.waitstatus_to_exitcode(status))


def become(order: dict[str, object]) -> object:
    """Be the process that was ordered."""
    ctypes.CDLL(None).prctl(_SET_DEATH_SIGNAL, signal.SIGKILL)
    os.environ.clear()
    os.environ.update(order["environment"])
    log = os.open(str(order["log"]), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    nothing = os.open(os.devnull, os.O_RDWR)
    for number, target in ((0, nothing), (1, nothing), (2, log)):
        os.dup2(target, number)
    os.chdir(str(order["folder"]))
    sys.argv = ["interalpha", *order["arguments"]]
    from api.cli import main

    return main()


def say(**facts: object) -> None:
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    import api.cli.serve
    import api.http.server
    import api.worker.process  # noqa: F401  # everything a part imports when it starts

    if "FAULT_WITHOUT" in os.environ:
        from tests.faults.switched_off import apply

        apply()
    say(ready=True)
    if (run := serve()) is not None:
        sys.exit(run())
