"""What the sessions of one mail server share: the account, the rules of the port, and where mails and log lines go."""

from base64 import b64decode
from binascii import Error as NotBase64
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hmac import compare_digest
from ssl import SSLContext
from typing import Protocol

from integrations.simulating.clock import Clock
from integrations.simulating.faults import Faults
from integrations.smtp.simulator.books import Books
from integrations.smtp.simulator.mail import Mail
from integrations.smtp.simulator.replies import Reply


class Note(Protocol):
    """Writes one command and its reply into the journal."""

    def __call__(
        self,
        command: str,
        reply: Reply | None,
        *,
        fault: str | None,
        prevented: bool,
        to: str | None,
        mail: Mail | None,
        body: str,
    ) -> None: ...


@dataclass(frozen=True, slots=True)
class Account:
    """Who may send. `is_plain` lets a password travel unencrypted, as SMTP_TLS=none asks for on loopback."""

    username: str | None
    password: str = field(repr=False)
    is_plain: bool

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> "Account":
        """Read the variables that the adapter reads; without a user name anybody may send."""
        return cls(
            environment.get("SMTP_USERNAME") or None,
            environment.get("SMTP_PASSWORD", ""),
            environment.get("SMTP_TLS") == "none",
        )

    def admits(self, username: str, password: str) -> bool:
        """Whether this is the user; takes the same time for every wrong one."""
        given = f"{username}\0{password}".encode()
        return compare_digest(given, f"{self.username}\0{self.password}".encode())


@dataclass(frozen=True, slots=True)
class Server:
    """The mail server behind every session."""

    account: Account
    faults: Faults
    tls: SSLContext
    clock: Clock
    books: Callable[[], Books]
    """The present ones: they are replaced whole."""
    note: Note


def unpacked(encoded: str) -> str | None:
    """Base64 text as AUTH carries it; None when it is none."""
    try:
        return b64decode(encoded, validate=True).decode()
    except (NotBase64, UnicodeDecodeError, ValueError):
        return None
