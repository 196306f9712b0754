"""Words in the forms that every relay and reader knows: texts in lines of seven bits, headers in encoded words."""

import base64
import binascii
import re
from collections.abc import Iterator
from email.base64mime import header_encode

from core.characters import refused_on_line

LINE = 78
"""Characters that a line should have at most; RFC 5322 allows 998."""
MARK = b"=_"
"""Begins the lines between parts, and stands in no encoded text: there, an equals sign is followed by hex or an end."""

# The whole text may stand as it is: nothing but what can be seen, in lines that are short enough.
_AS_IT_IS = re.compile(rb"(?:[\t\x20-\x7e]{0,%d}\r\n)*" % LINE)
# What base64 makes of a text, in lines of 76 and their ends.
_BASE64_GROWTH = 4 / 3 * 78 / 76
_ENCODED_LINE = 76
_WORD = len("=?utf-8?b??=")


def text_part(text: str, subtype: str) -> bytes:
    """A part with the headers that tell what it is, encoded as readably and as shortly as it can be.

    Line ends of any kind become those of mails, and the last line has one. Raises ValueError for what is no text.
    """
    lines = b"".join(line + b"\r\n" for line in text.encode().splitlines())
    encoding, encoded = _encoded(lines)
    head = f'Content-Type: text/{subtype}; charset="utf-8"\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n'
    return head.encode() + encoded


def _encoded(lines: bytes) -> tuple[str, bytes]:
    if MARK not in lines and _AS_IT_IS.fullmatch(lines):
        return "7bit", lines
    quoted = binascii.b2a_qp(lines, istext=True)
    if len(quoted) <= len(lines) * _BASE64_GROWTH:
        return "quoted-printable", quoted
    return "base64", base64.encodebytes(lines).replace(b"\n", b"\r\n")


def header(name: str, text: str) -> str:
    """A header of free words, on as many lines as it takes; raises ValueError for what could break out of it."""
    if found := refused_on_line(text):
        raise ValueError(f"The {name} contains {found[0]} at character {found[1]}.")
    # What looks like an encoded word would be decoded by whoever reads it, and could bring headers of its own.
    # Readers take spaces away at the ends of a header, unless they are encoded.
    is_plain = text == text.strip() and text.isascii() and "=?" not in text and len(name) + 2 + len(text) <= LINE
    value = text if is_plain else "\r\n ".join(_words(text, _ENCODED_LINE - len(name) - 2))
    return f"{name}: {value}\r\n"


def _words(text: str, room: int) -> Iterator[str]:
    """Encoded words, each of whole characters and no longer than its line; the first line has less room."""
    taken = bytearray()
    for character in text:
        encoded = character.encode()
        if len(taken) + len(encoded) > (room - _WORD) // 4 * 3:
            yield header_encode(bytes(taken), "utf-8")
            taken, room = bytearray(), _ENCODED_LINE - 1
        taken += encoded
    yield header_encode(bytes(taken), "utf-8")
