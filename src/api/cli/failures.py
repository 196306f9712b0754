"""How a command says that it could not do what it was asked: in words that end with what to do, and an exit status."""

from enum import IntEnum

from api.cli.clocks import in_local_time


class Exit(IntEnum):
    """What the process says to its caller."""

    OK = 0
    FAILED = 1
    USAGE = 2
    NOT_CONFIGURED = 3


class Failure(Exception):
    """An expected failure; the message ends with what to do about it."""

    def __init__(self, message: str, status: Exit = Exit.FAILED) -> None:
        super().__init__(in_local_time(message))
        self.status = status
