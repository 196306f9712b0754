"""The protocol of the simulated mail server: replies, strict reading of lines and mails, command arguments."""

import asyncio
import re
from dataclasses import dataclass

_FAULT_WORDS = {
    "421": "4.3.2 Service shutting down",
    "450": "4.2.1 Mailbox busy, try again later",
    "451": "4.3.0 Local error, try again later",
    "452": "4.2.2 Mailbox full",
    "454": "4.7.0 Temporary authentication failure",
    "535": "5.7.8 Authentication credentials invalid",
    "550": "5.1.1 User unknown",
    "552": "5.3.4 Message too big",
    "554": "5.7.1 Refused by policy",
}


@dataclass(frozen=True, slots=True)
class Reply:
    """One reply of one or more lines; `ends` closes the connection after it."""

    code: int
    lines: tuple[str, ...]
    ends: bool = False

    @property
    def is_refusal(self) -> bool:
        return self.code >= 400

    def __bytes__(self) -> bytes:
        *first, last = self.lines
        return "".join([f"{self.code}-{line}\r\n" for line in first] + [f"{self.code} {last}\r\n"]).encode()


def reply(code: int, *lines: str, ends: bool = False) -> Reply:
    """A reply in few words."""
    return Reply(code, lines, ends)


def fault_reply(code: str, text: str | None) -> Reply:
    """The reply an armed fault asks for; 421 closes the connection, as it says."""
    return reply(int(code), text or _FAULT_WORDS.get(code, f"{code[0]}.0.0 Simulated fault"), ends=code == "421")


OK = reply(250, "2.0.0 Ok")
BAD_SEQUENCE = reply(503, "5.5.1 Bad sequence of commands")
BAD_SYNTAX = reply(501, "5.5.4 Syntax error in parameters or arguments")
TOO_BIG = reply(552, "5.3.4 Message size exceeds fixed limit")


# Reads a mail client's lines (CRLF) and mails (until the dot) strictly, so that no second mail can be smuggled in.
#
# https://www.rfc-editor.org/rfc/rfc5321#section-2.3.8: a bare LF or CR is no line end; a server that takes one for it
# sees mails that the server before it did not see.


MAX_SIZE = 10_240_000
MAX_COMMAND = 2048
"""Octets of a command; RFC 5321 asks for 512, and parameters of extensions make it longer."""
MAX_LINE = 1000
BUFFER = 64 * 1024

_BARE = re.compile(rb"(?<!\r)\n|\r(?!\n)")
_BARE_LINE_END = reply(550, "5.6.11 Bare CR or LF is not allowed")
_LONG_LINE = reply(500, "5.5.2 Line too long")


async def read_line(reader: asyncio.StreamReader) -> bytes | None:
    """One line with its end, whatever its length; None when the client has hung up."""
    pieces = []
    while True:
        try:
            pieces.append(await reader.readuntil(b"\n"))
            return b"".join(pieces)
        except asyncio.IncompleteReadError:
            return None
        except asyncio.LimitOverrunError as overrun:
            pieces.append(await reader.readexactly(overrun.consumed))


async def read_mail(reader: asyncio.StreamReader) -> tuple[bytes, Reply | None] | None:
    """A mail without its dots, and why it must be refused, if it must; None when the client hung up before the dot."""
    lines: list[bytes] = []
    size, refusal, at_line_start = 0, None, True
    while True:
        line = await read_line(reader)
        if line is None:
            return None
        # Only <CRLF>.<CRLF> ends a mail: a dot after a bare LF, or before one, is part of it.
        if line == b".\r\n" and at_line_start:
            return b"".join(lines), refusal
        content = line[1:] if line.startswith(b".") and at_line_start else line
        at_line_start = line.endswith(b"\r\n")
        size += len(content)
        refusal = refusal or _line_refusal(line, size)
        if refusal is None:
            lines.append(content)


async def has_unread_input(reader: asyncio.StreamReader) -> bool:
    """Whether the client has sent something that was not read yet; takes it away."""
    try:
        async with asyncio.timeout(0):
            return bool(await reader.read(1))
    except TimeoutError:
        return False


def _line_refusal(line: bytes, size: int) -> Reply | None:
    if _BARE.search(line):
        return _BARE_LINE_END
    if len(line) > MAX_LINE:
        return _LONG_LINE
    return TOO_BIG if size > MAX_SIZE else None


# The arguments of MAIL and RCPT. https://www.rfc-editor.org/rfc/rfc5321#section-4.1.2


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
