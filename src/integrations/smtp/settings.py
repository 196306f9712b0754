"""The settings of SMTP: one or two servers, their addresses and credentials."""

import re
import string
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

from pydantic import AfterValidator, Field, SecretStr

from core.ports import Pace
from core.settings import IntegrationSettings, Problem, WrongValue, setting
from core.settings.addresses import is_loopback
from core.settings.values import together

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


def default_tls(port: int) -> Tls:
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


def fallback_problems(given: Mapping[str, str]) -> Iterator[Problem]:
    """The same for the second server, which is there when its host is."""
    others = [f"{SECOND}_{name}" for name in ("PORT", "USERNAME", "PASSWORD", "TLS", "CA_FILE")]
    there = next((name for name in others if name in given), None)
    if there and f"{SECOND}_HOST" not in given:
        yield Problem(f"{SECOND}_HOST", f"is missing: {there} is set, and is of no use without it", missing=True)
    yield from server_problems(SECOND, given)


# Settings, as the operator of a mail relay gives them.


_ADDRESS = r"[^@\s,;:<>()\"\x00-\x1f]+@[A-Za-z0-9.-]+"
_NAME = r'(?:(?P<quoted>"[^"\x00-\x1f]+")|(?P<plain>[^"<>,;:@\x00-\x1f]+))'
_HOST, _PORT = "[A-Za-z0-9._-]+|[0-9A-Fa-f:.]+", "[1-9][0-9]{0,4}"
_SENDER = rf"{_NAME}? *<(?P<named>{_ADDRESS})>|(?P<bare>{_ADDRESS})"


def _existing_file(path: Path) -> Path:
    if not path.is_file():
        raise WrongValue("names no file: give the full path of a PEM file")
    return path


Port = Annotated[int, Field(ge=1, le=65535)]
PemFile = Annotated[Path, AfterValidator(_existing_file)]


class Settings(IntegrationSettings):
    """A relay or two, how to sign in, and who the mail is from."""

    host: str = setting(
        "SMTP_HOST",
        about="The relay",
        fix="a host name or address, without smtp:// and without the port",
        matches=_HOST,
        example="smtp.example.com",
    )
    port: Port = setting(
        "SMTP_PORT",
        default=587,
        about="The relay's port",
        fix="587 (STARTTLS) or 465 (TLS from the first byte)",
        matches=_PORT,
    )
    username: str | None = setting(
        "SMTP_USERNAME", default=None, about="Signs in to the relay", fix="from the relay's operator", example="mailer"
    )
    password: SecretStr | None = setting(
        "SMTP_PASSWORD", default=None, about="The user's password", fix="from the relay's operator"
    )
    sender: str = setting(
        "SMTP_FROM",
        about="Who mail is from",
        fix='one address, or Name <name@example.com>; a name with a comma in double quotes ("Silva, Ana" <…>)',
        matches=_SENDER,
        example="Interalpha <hello@example.com>",
    )
    chosen_tls: Tls | None = setting(
        "SMTP_TLS",
        default=None,
        about="How the connection is encrypted (default: implicit on port 465, starttls on any other)",
        fix="starttls, implicit, or none for a relay on this machine",
        example="starttls",
    )
    ca_file: PemFile | None = setting(
        "SMTP_CA_FILE",
        default=None,
        about="The certificate authority of a private relay (optional)",
        fix="the full path of a PEM file",
        example="/etc/ssl/private-ca.pem",
    )
    list_unsubscribe: str | None = setting(
        "SMTP_LIST_UNSUBSCRIBE",
        default=None,
        about="Where people unsubscribe, as the header List-Unsubscribe (default: no such header)",
        fix="one mailto: or https: address",
        matches=r"(mailto:[^\s<>,@]+@|https://)[^\s<>,]+",
        example="mailto:unsubscribe@example.com",
    )
    fallback_host: str | None = setting(
        "SMTP_FALLBACK_HOST",
        default=None,
        about="A second relay, for mail that the first certainly did not accept (optional)",
        fix="a host name or address, without smtp:// and without the port",
        matches=_HOST,
        example="smtp.example.org",
    )
    fallback_port: Port = setting(
        "SMTP_FALLBACK_PORT",
        default=587,
        about="The second relay's port",
        fix="587 (STARTTLS) or 465 (TLS from the first byte)",
        matches=_PORT,
    )
    fallback_username: str | None = setting(
        "SMTP_FALLBACK_USERNAME",
        default=None,
        about="Signs in to the second relay",
        fix="from the relay's operator",
        example="mailer",
    )
    fallback_password: SecretStr | None = setting(
        "SMTP_FALLBACK_PASSWORD", default=None, about="That user's password", fix="from the relay's operator"
    )
    fallback_chosen_tls: Tls | None = setting(
        "SMTP_FALLBACK_TLS",
        default=None,
        about="How the connection to the second relay is encrypted (default: by its port, as for the first)",
        fix="starttls, implicit, or none for a relay on this machine",
        example="starttls",
    )
    fallback_ca_file: PemFile | None = setting(
        "SMTP_FALLBACK_CA_FILE",
        default=None,
        about="The certificate authority of a private second relay (optional)",
        fix="the full path of a PEM file",
        example="/etc/ssl/private-ca.pem",
    )

    messages_per_second: Annotated[int, Field(ge=1, le=1000)] | None = setting(
        "SMTP_MESSAGES_PER_SECOND",
        default=None,
        about="How fast the relay may be given mail, all workers together (default: as fast as it takes it)",
        fix="1 to 1000, from the relay's operator",
        matches="[1-9][0-9]{0,3}",
        example="14",
    )

    connections: Annotated[int, Field(ge=1, le=100)] = setting(
        "SMTP_CONNECTIONS",
        default=10,
        about="How many connections to a relay one worker keeps, and so how many mails it says at once",
        fix="1 to 100: no more than the relay's operator allows one client",
        matches="[1-9][0-9]{0,2}",
    )

    @property
    def pace(self) -> Pace | None:
        """How fast the relay takes mail; None while it is not set."""
        rate = self.messages_per_second
        return None if rate is None else Pace(rate, burst=max(1, rate // 10))

    @property
    def tls(self) -> Tls:
        """How the connection is encrypted, chosen or by the port's custom."""
        return self.chosen_tls or default_tls(self.port)

    @property
    def first(self) -> Server:
        """The server that takes the mail."""
        return Server(FIRST, self.host, self.port, self.tls, self.username, self.password, self.ca_file)

    @property
    def second(self) -> Server | None:
        """The server that takes what the first surely did not."""
        if self.fallback_host is None:
            return None
        tls = self.fallback_chosen_tls or default_tls(self.fallback_port)
        return Server(
            SECOND,
            self.fallback_host,
            self.fallback_port,
            tls,
            self.fallback_username,
            self.fallback_password,
            self.fallback_ca_file,
        )

    @property
    def sender_address(self) -> str:
        """The address mail is from, without the name."""
        match = re.fullmatch(_SENDER, self.sender)
        return match["named"] or match["bare"] if match else self.sender

    @property
    def sender_name(self) -> str:
        """The name mail is from; empty where there is none."""
        match = re.fullmatch(_SENDER, self.sender)
        return ((match["quoted"] or match["plain"] or "") if match else "").strip(' "')

    @property
    def unsubscribe_address(self) -> str | None:
        """The address for List-Unsubscribe, in ASCII; None where none is configured."""
        return None if self.list_unsubscribe is None else quote(self.list_unsubscribe, safe=string.punctuation)

    @property
    def base_addresses(self) -> tuple[str, ...]:
        return tuple(host for host in (self.host, self.fallback_host) if host)

    @classmethod
    def rules(cls, given: Mapping[str, str]) -> Iterator[Problem]:
        """What holds for one server holds for each."""
        yield from server_problems(FIRST, given)
        yield from fallback_problems(given)
