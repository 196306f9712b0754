"""A mail as the server keeps it: the envelope, the bytes, and a summary for people and tests."""

from base64 import b64decode, b64encode
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from secrets import token_hex
from typing import Annotated

from pydantic import AwareDatetime, BeforeValidator, PlainSerializer

from integrations.simulating.company import Json
from integrations.simulating.memory import WHOLE

_REQUIRED = ("Message-ID", "Date", "From")


def _unpacked(raw: object) -> object:
    return b64decode(raw, validate=True) if isinstance(raw, str) else raw


# A mail is bytes of any kind; a memory on paper is text.
Raw = Annotated[bytes, BeforeValidator(_unpacked), PlainSerializer(lambda raw: b64encode(raw).decode())]


@dataclass(frozen=True, slots=True)
class Mail:
    """One accepted mail; `id` is what it was queued as, `at` by the company's clock."""

    __pydantic_config__ = WHOLE

    sender: str
    recipients: tuple[str, ...]
    raw: Raw
    is_encrypted: bool
    user: str | None
    at: AwareDatetime
    id: str = field(default_factory=lambda: token_hex(6))

    def concerns(self, address: str) -> bool:
        """Whether the envelope names this address."""
        return address in self.recipients

    def shown(self) -> Json:
        """The mail for the control API."""
        return {
            "id": self.id,
            "at": self.at.isoformat(),
            "envelope": {"from": self.sender, "to": list(self.recipients)},
            "encrypted": self.is_encrypted,
            "user": self.user,
            "size": len(self.raw),
            **_summary(self.raw),
            "raw": self.raw.decode("utf-8", "replace"),
        }


def _summary(raw: bytes) -> Json:
    message = message_from_bytes(raw, EmailMessage, policy=default)
    try:
        headers = {name.lower(): str(value) for name, value in message.items()}
        text, html = _body(message, "plain"), _body(message, "html")
    # The parser stumbles over some malformed headers and unknown charsets; such a mail is kept and shown raw.
    except (LookupError, ValueError, AttributeError, TypeError) as error:
        return {"unreadable": repr(error), "missing": []}
    names = ("subject", "from", "to", "message-id", "list-unsubscribe", "list-unsubscribe-post")
    return {
        **{name.replace("-", "_"): headers.get(name) for name in names},
        "text": text,
        "html": html,
        "headers": headers,
        "missing": [name for name in _REQUIRED if name.lower() not in headers],
    }


def _body(message: EmailMessage, kind: str) -> str | None:
    part = message.get_body(preferencelist=(kind,))
    return None if part is None else str(part.get_content()).replace("\r\n", "\n")
