"""The journal of a simulated provider: every request that it received and every webhook that it sent."""

import re
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from heapq import merge
from itertools import count

OTHERS_KEPT = 10_000
"""How many entries are kept besides the accepted messages, which are all kept."""
_HIDDEN = frozenset({"authorization", "proxy-authorization", "cookie"})
_HIDDEN_PARAMETERS = re.compile(r"(?<=[?&])(access_token|input_token|appsecret_proof|hub\.verify_token)=[^&]*")


class Direction(StrEnum):
    """Who spoke."""

    RECEIVED = "received"
    WEBHOOK = "webhook"


class Verdict(StrEnum):
    """What became of it."""

    ACCEPTED = "accepted"
    """A message was taken."""
    ANSWERED = "answered"
    """A question was answered."""
    REFUSED = "refused"
    """The provider said no."""
    FAULTED = "faulted"
    """An armed fault struck and nothing was done."""
    DELIVERED = "delivered"
    """A webhook got an answer, whatever its status."""
    UNREACHED = "unreached"
    """A webhook got no answer."""
    DROPPED = "dropped"
    """A webhook was not sent, as the plan asks."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the log. `status` and `code` are what was answered; a fault can keep them from arriving."""

    simulator: str
    direction: Direction
    method: str
    path: str
    verdict: Verdict
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str = ""
    status: int | None = None
    code: str | None = None
    fault: str | None = None
    to: str | None = None
    message_id: str | None = None
    webhook_id: str | None = None
    attempt: int | None = None
    detail: str | None = None
    at: datetime = field(default_factory=lambda: datetime.now(UTC))


Match = Callable[[Entry], bool]


class Journal:
    """The log of all providers of one process, numbered in the order of writing."""

    def __init__(self) -> None:
        self._numbers = count(1)
        self._accepted: list[tuple[int, Entry]] = []
        self._others: deque[tuple[int, Entry]] = deque(maxlen=OTHERS_KEPT)

    def write(self, entry: Entry) -> None:
        """Add a line; an accepted message is never forgotten."""
        kept = self._accepted if entry.verdict is Verdict.ACCEPTED else self._others
        kept.append((next(self._numbers), entry))

    def read(self, match: Match) -> Iterator[tuple[int, Entry]]:
        """The numbered lines that match, oldest first."""
        lines = merge(self._accepted, self._others, key=lambda line: line[0])
        return (line for line in lines if match(line[1]))

    def forget(self, simulator: str) -> None:
        """Tear out the lines of one provider."""
        self._accepted[:] = [line for line in self._accepted if line[1].simulator != simulator]
        others = [line for line in self._others if line[1].simulator != simulator]
        self._others.clear()
        self._others.extend(others)


def redacted_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Headers as the log keeps them: credentials are replaced, so that no secret is written down."""
    return {name: "•••" if name.lower() in _HIDDEN else value for name, value in headers.items()}


def redacted_path(path: str) -> str:
    """A path as the log keeps it: credentials in its query are replaced, too."""
    return _HIDDEN_PARAMETERS.sub(r"\1=•••", path)
