"""Which characters a text may hold: one rule for every argument, setting and header.

Refused are control characters (category Cc), halves of surrogate pairs, and, where a text has to stay on one line,
U+2028 and U+2029, which readers show as line breaks. Everything else passes, also what Python's copy of Unicode does
not know yet. The rule is written out because `str.isprintable()` answers another question: it refuses no-break spaces,
joined emoji and direction marks, and changes with every version of Unicode.
"""

import re
from collections.abc import Iterator, Sequence

from core.errors import InputRule, InvalidInput
from core.words import say

_NOT_ON_A_LINE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_NOT_IN_A_TEXT = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
_NOT_STORABLE = re.compile("[\x00\ud800-\udfff]")

# https://www.unicode.org/Public/UCD/latest/ucd/NameAliases.txt names the controls; `unicodedata` does not.
_C0 = (
    "NULL, START OF HEADING, START OF TEXT, END OF TEXT, END OF TRANSMISSION, ENQUIRY, ACKNOWLEDGE, ALERT, BACKSPACE,"
    " CHARACTER TABULATION, LINE FEED, LINE TABULATION, FORM FEED, CARRIAGE RETURN, SHIFT OUT, SHIFT IN,"
    " DATA LINK ESCAPE, DEVICE CONTROL ONE, DEVICE CONTROL TWO, DEVICE CONTROL THREE, DEVICE CONTROL FOUR,"
    " NEGATIVE ACKNOWLEDGE, SYNCHRONOUS IDLE, END OF TRANSMISSION BLOCK, CANCEL, END OF MEDIUM, SUBSTITUTE, ESCAPE,"
    " INFORMATION SEPARATOR FOUR, INFORMATION SEPARATOR THREE, INFORMATION SEPARATOR TWO, INFORMATION SEPARATOR ONE"
)
_C1 = (
    "DELETE, PADDING CHARACTER, HIGH OCTET PRESET, BREAK PERMITTED HERE, NO BREAK HERE, INDEX, NEXT LINE,"
    " START OF SELECTED AREA, END OF SELECTED AREA, CHARACTER TABULATION SET, CHARACTER TABULATION WITH JUSTIFICATION,"
    " LINE TABULATION SET, PARTIAL LINE FORWARD, PARTIAL LINE BACKWARD, REVERSE LINE FEED, SINGLE SHIFT TWO,"
    " SINGLE SHIFT THREE, DEVICE CONTROL STRING, PRIVATE USE ONE, PRIVATE USE TWO, SET TRANSMIT STATE,"
    " CANCEL CHARACTER, MESSAGE WAITING, START OF GUARDED AREA, END OF GUARDED AREA, START OF STRING,"
    " SINGLE GRAPHIC CHARACTER INTRODUCER, SINGLE CHARACTER INTRODUCER, CONTROL SEQUENCE INTRODUCER,"
    " STRING TERMINATOR, OPERATING SYSTEM COMMAND, PRIVACY MESSAGE, APPLICATION PROGRAM COMMAND"
)
_NAMES = dict(enumerate(_C0.split(", "))) | dict(enumerate(_C1.split(", "), 0x7F))
_NAMES |= {0x2028: "LINE SEPARATOR", 0x2029: "PARAGRAPH SEPARATOR"}


def refused_on_line(text: str) -> tuple[str, int] | None:
    """Find the first character that a text of one line may not hold: its name and its place, counted from 1."""
    return _described(_NOT_ON_A_LINE.search(text))


def refused_in_text(text: str) -> tuple[str, int] | None:
    """Find the first character that a text of several lines may not hold; tabs and line breaks of any kind pass."""
    return _described(_NOT_IN_A_TEXT.search(text))


def line_errors(text: str, path: Sequence[str]) -> Iterator[InvalidInput]:
    """Yield an error that names the character and its place, unless a text can stand on one line."""
    if found := refused_on_line(text):
        words = say(
            "CHARACTER_NOT_ON_LINE",
            "It contains {character} at character {position}. Write it on one line, without control characters.",
            character=found[0],
            position=found[1],
        )
        yield InvalidInput(words, path=path, rule=InputRule.MALFORMED)


def check_line(text: str, path: Sequence[str]) -> None:
    """Raise InvalidInput, naming the character and its place, unless a text can stand on one line."""
    for error in line_errors(text, path):
        raise error


def check_text(text: str, path: Sequence[str]) -> None:
    """Raise InvalidInput, naming the character and its place, unless a text of several lines can be sent."""
    if found := refused_in_text(text):
        words = say(
            "CHARACTER_UNSENDABLE",
            "It contains {character} at character {position}, which cannot be sent. Remove it.",
            character=found[0],
            position=found[1],
        )
        raise InvalidInput(words, path=path, rule=InputRule.MALFORMED)


def is_storable(text: str) -> bool:
    """Say whether PostgreSQL can hold a text: it takes no NUL, and half of a surrogate pair cannot be encoded."""
    return _NOT_STORABLE.search(text) is None


def made_storable(text: str) -> str:
    """Replace the characters of a text that PostgreSQL cannot hold."""
    return _NOT_STORABLE.sub("\ufffd", text)


def _described(found: re.Match[str] | None) -> tuple[str, int] | None:
    if found is None:
        return None
    code = ord(found.group())
    return f"U+{code:04X} ({_NAMES.get(code, 'half of a surrogate pair')})", found.start() + 1
