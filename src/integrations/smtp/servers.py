"""One mail server: where it is, how to sign in to it, and which settings say so."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from pydantic import SecretStr

from core.settings import Problem
from core.settings.addresses import is_loopback
from core.settings.rules import together

FIRST, SECOND = "SMTP", "SMTP_FALLBACK"
"""How the names of a server's settings begin."""
_OF_A_SERVER = re.compile(rf"\b{FIRST}_(HOST|PORT|USERNAME|PASSWORD|TLS|CA_FILE)\b")


class Tls(StrEnum):
    """How a connection is encrypted: upgraded after the greeting, from its first byte, or not at all."""

    STARTTLS = "starttls"
    IMPLICIT = "implicit"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Server:
    """A relay; `prefix` begins the names of its settings."""

    prefix: str
    host: str
    port: int
    tls: Tls
    username: str | None = None
    password: SecretStr | None = field(default=None, repr=False)
    ca_file: Path | None = None

    def named(self, text: str) -> str:
        """Put the names of this server's settings into a sentence that names the first one's."""
        return _OF_A_SERVER.sub(rf"{self.prefix}_\1", text)


def customary_tls(port: int) -> Tls:
    """The encryption that belongs to a port."""
    return Tls.IMPLICIT if port == 465 else Tls.STARTTLS


def server_problems(prefix: str, given: Mapping[str, str]) -> Iterator[Problem]:
    """A user has a password; the port and the encryption agree; nothing leaves this machine unencrypted."""
    yield from together(given, f"{prefix}_USERNAME", f"{prefix}_PASSWORD")
    name = f"{prefix}_TLS"
    port, tls, host = given.get(f"{prefix}_PORT", "587"), given.get(name), given.get(f"{prefix}_HOST", "localhost")
    if (port, tls) == ("465", Tls.STARTTLS):
        yield Problem(name, "is starttls, and port 465 encrypts from the first byte: say implicit, or port 587")
    if (port, tls) == ("587", Tls.IMPLICIT):
        yield Problem(name, "is implicit, and port 587 begins in the clear: say starttls, or port 465")
    if tls == Tls.NONE and not is_loopback(host):
        yield Problem(name, "is none, and the relay is another machine: say starttls or implicit")


def second_problems(given: Mapping[str, str]) -> Iterator[Problem]:
    """The same for the second server, which is there when its host is."""
    others = [f"{SECOND}_{name}" for name in ("PORT", "USERNAME", "PASSWORD", "TLS", "CA_FILE")]
    there = next((name for name in others if name in given), None)
    if there and f"{SECOND}_HOST" not in given:
        yield Problem(f"{SECOND}_HOST", f"is missing: {there} is set, and is of no use without it", missing=True)
    yield from server_problems(SECOND, given)
