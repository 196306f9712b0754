"""What a probe finds out about a company."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


class Severity(StrEnum):
    """How bad a finding is."""

    INFO = "INFO"
    WARNING = "WARNING"
    CRITICAL = "CRITICAL"


@dataclass(frozen=True, slots=True)
class Finding:
    """Something a probe found; `fix` says what to do."""

    code: str
    severity: Severity
    detail: str
    fix: str


class Probe(Protocol):
    """Asks a company whether it lets us in, without sending anything to anybody."""

    async def check(self) -> Sequence[Finding]: ...
