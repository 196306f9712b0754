"""Whether a text Twilio kept is the one we gave: it may have been changed on the way.

Smart encoding replaces what has a likeness in GSM-7 (https://www.twilio.com/docs/messaging/services/smart-encoding-char-list),
a trial account puts a sentence in front, and an account that redacts keeps no text at all.
"""

import unicodedata
from enum import IntEnum

_TRIAL = "Sent from your Twilio trial account - "
_REPLACED = str.maketrans(
    {
        **dict.fromkeys("\u2018\u2019\u201a\u201b\u2032\u00b4\u0060\u02bc", "'"),
        **dict.fromkeys("\u201c\u201d\u201e\u201f\u2033\u00ab\u00bb", '"'),
        **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015\u2212", "-"),
        **dict.fromkeys("\u200b\u200c\u200d\u2060\ufeff\u00ad", ""),
        "\u2022": "*",
        "\u2044": "/",
    }
)


class Likeness(IntEnum):
    """How much a kept text says for being ours, the most first."""

    SAME = 0
    ALIKE = 1
    NOT_KEPT = 2
    DIFFERENT = 3


def likeness(given: str, kept: object) -> Likeness:
    """Compare what we gave with what Twilio shows."""
    if not isinstance(kept, str) or not kept:
        return Likeness.NOT_KEPT
    if kept == given:
        return Likeness.SAME
    return Likeness.ALIKE if _essence(kept.removeprefix(_TRIAL)) == _essence(given) else Likeness.DIFFERENT


def _essence(text: str) -> str:
    """What is left of a text however it was written: letters without accents, plain marks, single spaces."""
    apart = unicodedata.normalize("NFKD", text.translate(_REPLACED))
    return " ".join("".join(letter for letter in apart if not unicodedata.combining(letter)).split())
