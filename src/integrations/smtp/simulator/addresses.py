"""The arguments of MAIL and RCPT. https://www.rfc-editor.org/rfc/rfc5321#section-4.1.2"""

import re
from dataclasses import dataclass

from integrations.smtp.simulator.reading import MAX_SIZE
from integrations.smtp.simulator.replies import BAD_SYNTAX, TOO_BIG, Reply, reply

_PATH = r"<([^<>]*)>((?: [^ ]+)*)"
_MAIL = re.compile(rf"FROM:{_PATH}", re.IGNORECASE)
_RCPT = re.compile(rf"TO:{_PATH}", re.IGNORECASE)
_MAILBOX = re.compile(r"[^\s@]+@[^\s@]+")
_UNKNOWN_PARAMETER = reply(555, "5.5.4 Unsupported parameter")
_NEEDS_SMTPUTF8 = reply(553, "5.6.7 Address needs SMTPUTF8")


@dataclass(frozen=True, slots=True)
class Sender:
    """Who a mail is from; the empty address is that of a bounce."""

    address: str
    is_utf8: bool


def read_sender(argument: str) -> Sender | Reply:
    """Read the argument of MAIL, or say what is wrong with it."""
    match = _MAIL.fullmatch(argument)
    if match is None or not (match[1] == "" or _MAILBOX.fullmatch(match[1])):
        return BAD_SYNTAX
    parameters = dict(word.upper().partition("=")[::2] for word in match[2].split())
    if set(parameters) - {"SIZE", "BODY", "SMTPUTF8", "AUTH"}:
        return _UNKNOWN_PARAMETER
    size = parameters.get("SIZE", "0")
    if not size.isdecimal() or parameters.get("BODY", "7BIT") not in ("7BIT", "8BITMIME"):
        return BAD_SYNTAX
    if int(size) > MAX_SIZE:
        return TOO_BIG
    if not match[1].isascii() and "SMTPUTF8" not in parameters:
        return _NEEDS_SMTPUTF8
    return Sender(match[1], "SMTPUTF8" in parameters)


def read_recipient(argument: str, sender: Sender) -> str | Reply:
    """Read the argument of RCPT, or say what is wrong with it."""
    match = _RCPT.fullmatch(argument)
    if match is None or not _MAILBOX.fullmatch(match[1]):
        return BAD_SYNTAX
    if match[2]:
        return _UNKNOWN_PARAMETER
    return match[1] if match[1].isascii() or sender.is_utf8 else _NEEDS_SMTPUTF8
