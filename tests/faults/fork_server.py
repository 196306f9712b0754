"""Starts processes of the product in hundredths of a second: it has imported everything, and forks.

Each fork runs the `interalpha` command with its own environment and log. That saves the two seconds of imports, which
would take most of the machine where workers are killed by the dozen. The program reads requests from stdin, a line of
JSON each, and prints which processes have started and ended.
"""

import ctypes
import json
import os
import select
import signal
import sys
from collections.abc import Callable
from typing import Any

_SET_DEATH_SIGNAL = 1
_TURN = 0.02


def serve() -> Callable[[], int] | None:
    """Carry out requests until stdin ends; in a child process, return what it has to run."""
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
            request = json.loads(line)
            pid = os.fork()
            if pid == 0:
                return lambda: run(request)
            report(id=request["id"], pid=pid)
        report_ended()


def report_ended() -> None:
    """Report each child that has ended."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        report(pid=pid, code=os.waitstatus_to_exitcode(status))


def run(request: dict[str, Any]) -> int:
    """Run the command of a request in this process."""
    ctypes.CDLL(None).prctl(_SET_DEATH_SIGNAL, signal.SIGKILL)
    os.environ.clear()
    os.environ.update(request["environment"])
    log = os.open(str(request["log"]), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    nothing = os.open(os.devnull, os.O_RDWR)
    for number, target in ((0, nothing), (1, nothing), (2, log)):
        os.dup2(target, number)
    os.chdir(str(request["folder"]))
    sys.argv = ["interalpha", *request["arguments"]]
    from api.cli import main

    return main()


def report(**facts: object) -> None:
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    import api.cli.serve
    import api.http.server
    import api.worker.process  # noqa: F401  # everything a process imports when it starts

    if "FAULT_WITHOUT" in os.environ:
        from tests.faults.switched_off import apply

        apply()
    report(ready=True)
    if (command := serve()) is not None:
        sys.exit(command())
