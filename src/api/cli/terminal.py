"""The terminal of a program that runs on when nobody reads what it says."""

import os
import sys
from typing import Any

from rich.console import Console


class Terminal(Console):
    """Prints like any console, and falls silent when its reader has gone, to end in order all the same."""

    def print(self, *objects: Any, **options: Any) -> None:
        try:
            super().print(*objects, **options)
        except OSError:
            # A closed terminal is no pipe, and says so in this way.
            self.on_broken_pipe()

    def on_broken_pipe(self) -> None:
        self.quiet = True
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
