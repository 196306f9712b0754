"""Counting the segments of an SMS, by which it is priced.

The alphabet is that of GSM 03.38, https://www.unicode.org/Public/MAPPINGS/ETSI/GSM0338.TXT. One character outside it,
such as the ã of "amanhã", puts the whole text into UCS-2.
"""

from dataclasses import dataclass
from enum import StrEnum

_BASIC = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
_EXTENDED = frozenset("^{}\\[~]|€\f")


class Encoding(StrEnum):
    """The encoding of a text in an SMS."""

    GSM_7 = "GSM-7"
    UCS_2 = "UCS-2"


# Units in a message that fits one segment, and in each segment of a longer one, where a header takes its place.
_ROOM = {Encoding.GSM_7: (160, 153), Encoding.UCS_2: (70, 67)}


@dataclass(frozen=True, slots=True)
class Segments:
    """The size of a text: septets or UTF-16 code units, and the segments that hold them."""

    encoding: Encoding
    units: int
    segments: int


def count_segments(text: str) -> Segments:
    """Count the segments of an SMS; an empty text is one segment."""
    encoding = Encoding.GSM_7 if _BASIC.union(_EXTENDED).issuperset(text) else Encoding.UCS_2
    sizes = [_size(character, encoding) for character in text]
    alone, part = _ROOM[encoding]
    units = sum(sizes)
    return Segments(encoding, units, 1 if units <= alone else _parts(sizes, part))


def _size(character: str, encoding: Encoding) -> int:
    if encoding is Encoding.GSM_7:
        return 2 if character in _EXTENDED else 1
    return 2 if ord(character) > 0xFFFF else 1


def _parts(sizes: list[int], room: int) -> int:
    """Count the segments; a character of two units is never split."""
    parts, used = 1, 0
    for size in sizes:
        if used + size > room:
            parts, used = parts + 1, 0
        used += size
    return parts
