"""What a mail relay's operator tells you."""

import re
import string
from collections.abc import Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

from pydantic import AfterValidator, Field, SecretStr

from core.ports import Pace
from core.settings import IntegrationSettings, Problem, WrongValue, setting
from core.settings.addresses import is_loopback
from core.settings.rules import together

_ADDRESS = r"[^@\s,;:<>()\"\x00-\x1f]+@[A-Za-z0-9.-]+"
_NAME = r'(?:(?P<quoted>"[^"\x00-\x1f]+")|(?P<plain>[^"<>,;:@\x00-\x1f]+))'
_SENDER = rf"{_NAME}? *<(?P<named>{_ADDRESS})>|(?P<bare>{_ADDRESS})"


class Tls(StrEnum):
    """How a connection is encrypted: upgraded after the greeting, from its first byte, or not at all."""

    STARTTLS = "starttls"
    IMPLICIT = "implicit"
    NONE = "none"


def _is_there(path: Path) -> Path:
    if not path.is_file():
        raise WrongValue("names no file: give the full path of a PEM file")
    return path


class Settings(IntegrationSettings):
    """A relay, how to sign in to it, and who the mail is from."""

    host: str = setting(
        "SMTP_HOST",
        about="The relay",
        mend="a host name or address, without smtp:// and without the port",
        matches="[A-Za-z0-9._-]+|[0-9A-Fa-f:.]+",
        example="smtp.example.com",
    )
    port: Annotated[int, Field(ge=1, le=65535)] = setting(
        "SMTP_PORT",
        default=587,
        about="The relay's port",
        mend="587 (STARTTLS) or 465 (TLS from the first byte)",
        matches="[1-9][0-9]{0,4}",
    )
    username: str | None = setting(
        "SMTP_USERNAME", default=None, about="Signs in to the relay", mend="from the relay's operator", example="mailer"
    )
    password: SecretStr | None = setting(
        "SMTP_PASSWORD", default=None, about="The user's password", mend="from the relay's operator"
    )
    sender: str = setting(
        "SMTP_FROM",
        about="Who mail is from",
        mend='one address, or Name <name@example.com>; a name with a comma in double quotes ("Silva, Ana" <…>)',
        matches=_SENDER,
        example="Interalpha <hello@example.com>",
    )
    chosen_tls: Tls | None = setting(
        "SMTP_TLS",
        default=None,
        about="How the connection is encrypted (default: implicit on port 465, starttls on any other)",
        mend="starttls, implicit, or none for a relay on this machine",
        example="starttls",
    )
    ca_file: Annotated[Path, AfterValidator(_is_there)] | None = setting(
        "SMTP_CA_FILE",
        default=None,
        about="The certificate authority of a private relay (optional)",
        mend="the full path of a PEM file",
        example="/etc/ssl/private-ca.pem",
    )
    list_unsubscribe: str | None = setting(
        "SMTP_LIST_UNSUBSCRIBE",
        default=None,
        about="Where people unsubscribe (default: a mail to the address of SMTP_FROM)",
        mend="one mailto: or https: address",
        matches=r"(mailto:[^\s<>,@]+@|https://)[^\s<>,]+",
        example="mailto:unsubscribe@example.com",
    )

    messages_per_second: Annotated[int, Field(ge=1, le=1000)] | None = setting(
        "SMTP_MESSAGES_PER_SECOND",
        default=None,
        about="How fast the relay may be given mail, all workers together (default: as fast as it takes it)",
        mend="1 to 1000, from the relay's operator",
        matches="[1-9][0-9]{0,3}",
        example="14",
    )

    @property
    def pace(self) -> Pace | None:
        """How fast the relay takes mail; None while nobody has said."""
        rate = self.messages_per_second
        return None if rate is None else Pace(rate, burst=max(1, rate // 10))

    @property
    def tls(self) -> Tls:
        """How the connection is encrypted, chosen or by the port's custom."""
        return self.chosen_tls or _customary_tls(self.port)

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
    def unsubscribe_address(self) -> str:
        """The address for List-Unsubscribe, in ASCII."""
        given = self.list_unsubscribe or f"mailto:{quote(self.sender_address, safe='@+')}?subject=unsubscribe"
        return quote(given, safe=string.punctuation)

    @property
    def base_addresses(self) -> tuple[str, ...]:
        return (self.host,)

    @classmethod
    def rules(cls, given: Mapping[str, str]) -> Iterator[Problem]:
        """A user has a password; the port and the encryption agree; nothing leaves this machine unencrypted."""
        yield from together(given, "SMTP_USERNAME", "SMTP_PASSWORD")
        port, tls, host = given.get("SMTP_PORT", "587"), given.get("SMTP_TLS"), given.get("SMTP_HOST", "localhost")
        if (port, tls) == ("465", Tls.STARTTLS):
            yield Problem(
                "SMTP_TLS", "is starttls, and port 465 encrypts from the first byte: say implicit, or port 587"
            )
        if (port, tls) == ("587", Tls.IMPLICIT):
            yield Problem("SMTP_TLS", "is implicit, and port 587 begins in the clear: say starttls, or port 465")
        if tls == Tls.NONE and not is_loopback(host):
            yield Problem("SMTP_TLS", "is none, and the relay is another machine: say starttls or implicit")


def _customary_tls(port: int) -> Tls:
    return Tls.IMPLICIT if port == 465 else Tls.STARTTLS
