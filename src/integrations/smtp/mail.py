"""Writes an e-mail for the wire: headers, encoded words and 7-bit bodies."""

import base64
import binascii
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email import policy
from email.base64mime import header_encode
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import format_datetime
from functools import lru_cache

from email_validator import validate_email

from core.characters import refused_on_line
from core.ports import EmailContent, OutboundMessage
from integrations.smtp.settings import Settings

LINE_LENGTH = 78
"""Characters that a line should have at most; RFC 5322 allows 998."""
BOUNDARY_MARK = b"=_"
"""Begins the lines between parts, and stands in no encoded text: there, an equals sign is followed by hex or an end."""

# The whole text may stand as it is: nothing but what can be seen, in lines that are short enough.
_SEVEN_BIT = re.compile(rb"(?:[\t\x20-\x7e]{0,%d}\r\n)*" % LINE_LENGTH)
# What base64 makes of a text, in lines of 76 and their ends.
_BASE64_GROWTH = 4 / 3 * 78 / 76
_ENCODED_LINE = 76
_ENCODED_WORD_OVERHEAD = len("=?utf-8?b??=")


def text_part(text: str, subtype: str) -> bytes:
    """A part with the headers that tell what it is, encoded as readably and as shortly as it can be.

    Line ends of any kind become those of mails, and the last line has one. Raises ValueError for what is no text.
    """
    lines = b"".join(line + b"\r\n" for line in text.encode().splitlines())
    encoding, encoded = _encoded(lines)
    head = f'Content-Type: text/{subtype}; charset="utf-8"\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n'
    return head.encode() + encoded


def _encoded(lines: bytes) -> tuple[str, bytes]:
    if BOUNDARY_MARK not in lines and _SEVEN_BIT.fullmatch(lines):
        return "7bit", lines
    quoted = binascii.b2a_qp(lines, istext=True)
    if len(quoted) <= len(lines) * _BASE64_GROWTH:
        return "quoted-printable", quoted
    return "base64", base64.encodebytes(lines).replace(b"\n", b"\r\n")


def text_header(name: str, text: str) -> str:
    """A header of free words, on as many lines as it takes; raises ValueError for what could break out of it."""
    if found := refused_on_line(text):
        raise ValueError(f"The {name} contains {found[0]} at character {found[1]}.")
    # What looks like an encoded word would be decoded by the reader, and could bring headers of its own.
    # Readers take spaces away at the ends of a header, unless they are encoded.
    is_plain = text == text.strip() and text.isascii() and "=?" not in text and len(name) + 2 + len(text) <= LINE_LENGTH
    value = text if is_plain else "\r\n ".join(_encoded_words(text, _ENCODED_LINE - len(name) - 2))
    return f"{name}: {value}\r\n"


def _encoded_words(text: str, room: int) -> Iterator[str]:
    """Encoded words, each of whole characters and no longer than its line; the first line has less room."""
    taken = bytearray()
    for character in text:
        encoded = character.encode()
        if len(taken) + len(encoded) > (room - _ENCODED_WORD_OVERHEAD) // 4 * 3:
            yield header_encode(bytes(taken), "utf-8")
            taken, room = bytearray(), _ENCODED_LINE - 1
        taken += encoded
    yield header_encode(bytes(taken), "utf-8")


# Building the e-mail for the wire. A header that could contain a line break is refused here too.
#
# Written line by line: EmailMessage parses each header before it writes it, which took half a worker's time for mail.


_POLICY = policy.SMTP.clone(raise_on_defect=True)
_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_USERNAME = re.compile(rf"{_ATOM}(?:\.{_ATOM})*")
_LONGEST_USERNAME, _LONGEST_ADDRESS = 64, 254
# Nothing that ends an address, a line or a command, whatever a library has let through.
_MAILBOX = re.compile(r"[^\s\x00-\x20\x7f<>()\[\],;:\\\"@]+@[^\s\x00-\x20\x7f<>()\[\],;:\\\"@]+")


@dataclass(frozen=True, slots=True)
class Mail:
    """A mail and its envelope; `needs_utf8` says that an address cannot go without SMTPUTF8."""

    sender: str
    recipient: str
    raw: bytes
    needs_utf8: bool


@dataclass(frozen=True, slots=True)
class SenderHeaders:
    """What all mails of a sender have in common, in the form in which it goes out."""

    sender: str
    host: str
    lines: str

    @classmethod
    def of(cls, settings: Settings) -> "SenderHeaders":
        """Write it once for all; raises ValueError for a sender that no header can hold."""
        sender = settings.sender_address
        username, _, host = sender.rpartition("@")
        # In two halves: as one, a name outside ASCII counts as a defect.
        head = EmailMessage(_POLICY.clone(utf8=not sender.isascii()))
        head["From"] = Address(settings.sender_name, username, host)
        from_line = head.as_bytes().decode().removesuffix("\r\n")
        return cls(sender, host, from_line + _unsubscribe_headers(settings.unsubscribe_address))


def build_mail(letterhead: SenderHeaders, message: OutboundMessage, content: EmailContent) -> Mail:
    """Build a mail to one mailbox; raises ValueError for an address or a subject that no header can hold.

    The Message-ID is made of the message's id: whatever happens on the way, every attempt carries the same.
    """
    name, recipient = message.reference.message_id.hex, envelope_address(message.to)
    head = (
        f"Message-ID: <{name}@{letterhead.host}>\r\n"
        # "+0000": RFC 5322 4.3 forbids to generate "GMT", and "-0000" would say that our zone is unknown.
        f"Date: {format_datetime(datetime.now(UTC))}\r\n"
        f"{letterhead.lines}"
        f"To: {recipient}\r\n"
        f"{text_header('Subject', content.subject)}"
        "MIME-Version: 1.0\r\n"
    )
    needs_utf8 = not (letterhead.sender.isascii() and recipient.isascii())
    return Mail(letterhead.sender, recipient, head.encode() + _body(content, name), needs_utf8)


def _body(content: EmailContent, name: str) -> bytes:
    """The rest of the head, and what it is about; of two alternatives readers take the last they can show."""
    if content.plain_text and content.html:
        boundary = BOUNDARY_MARK + name.encode()
        parts = text_part(content.plain_text, "plain"), text_part(content.html, "html")
        return (
            b'Content-Type: multipart/alternative;\r\n boundary="%b"\r\n\r\n' % boundary
            + b"".join(b"--%b\r\n%b\r\n" % (boundary, part) for part in parts)
            + b"--%b--\r\n" % boundary
        )
    return text_part(content.plain_text, "plain") if content.plain_text else text_part(content.html or "", "html")


def envelope_address(address: str) -> str:
    """The address in ASCII where its name allows it, so that the relay needs SMTPUTF8 only where it must."""
    username, _, domain = address.rpartition("@")
    is_usual = len(username) <= _LONGEST_USERNAME and _USERNAME.fullmatch(username)
    mailbox = f"{username}@{_domain(domain)}" if is_usual else _checked(address)
    if "=?" in mailbox:
        # No person has such a name, and readers would take it for an encoded word.
        raise ValueError("The address looks like an encoded word.")
    if len(mailbox) > _LONGEST_ADDRESS or not _MAILBOX.fullmatch(mailbox):
        raise ValueError("The address is none.")
    return mailbox


@lru_cache(maxsize=1024)
def _domain(name: str) -> str:
    """A domain in ASCII. Many people share few of them, and looking one over costs more than writing a mail."""
    return _checked(f"a@{name}").removeprefix("a@")


def _checked(address: str) -> str:
    found = validate_email(address, check_deliverability=False)
    return found.ascii_email or found.normalized


def _unsubscribe_headers(address: str | None) -> str:
    if address is None:
        # Nothing here reads mail: an address that is not read must not be offered.
        return ""
    # Never folded: an address in two pieces could not be followed.
    one_click = "List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n" if address.startswith("https:") else ""
    return f"List-Unsubscribe: <{address}>\r\n{one_click}"
