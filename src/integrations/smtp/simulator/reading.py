"""Reads what a mail client sends: lines with CRLF, and a mail up to its dot, strictly, so that nothing is smuggled in.

https://www.rfc-editor.org/rfc/rfc5321#section-2.3.8: a bare LF or CR is no line end; a server that takes one for it
sees mails that the server before it did not see.
"""

import asyncio
import re

from integrations.smtp.simulator.replies import TOO_BIG, Reply, reply

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
        refusal = refusal or _refusal(line, size)
        if refusal is None:
            lines.append(content)


async def has_more(reader: asyncio.StreamReader) -> bool:
    """Whether the client has sent something that nobody has read yet; takes it away."""
    try:
        async with asyncio.timeout(0):
            return bool(await reader.read(1))
    except TimeoutError:
        return False


def _refusal(line: bytes, size: int) -> Reply | None:
    if _BARE.search(line):
        return _BARE_LINE_END
    if len(line) > MAX_LINE:
        return _LONG_LINE
    return TOO_BIG if size > MAX_SIZE else None
