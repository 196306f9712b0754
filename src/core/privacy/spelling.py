"""Companies' ids that spell a person's number, and how they are shown to whoever may not see it.

WhatsApp's ids of messages hold the person's number in base64: whoever reads one can read the other.
"""

import binascii
import re
from base64 import b64decode
from collections.abc import Iterator

_ENCODED = re.compile(r"[A-Za-z0-9+/]{16,}={0,2}")
# As long as telephone numbers with their country are.
_NUMBER = re.compile(r"(?<![0-9])[0-9]{8,15}(?![0-9])")
_SHOWN = 4


def decoded(text: str) -> Iterator[str]:
    """What stands encoded inside a text, in base64, as far as anything does."""
    for found in _ENCODED.findall(text):
        yield from _decoded(found.rstrip("="))


def _decoded(encoded: str) -> Iterator[str]:
    try:
        yield b64decode(encoded + "=" * (-len(encoded) % 4), validate=True).decode("latin-1")
    except (binascii.Error, ValueError):
        return


def spells_a_number(id: str) -> bool:
    """Whether an id holds somebody's number for whoever decodes it."""
    return any(_NUMBER.search(text) for text in decoded(id))


def discreet(id: str) -> str:
    """An id as it is shown to whoever may not see addresses: of what spells a number, only the end."""
    if not spells_a_number(id):
        return id
    return _ENCODED.sub(lambda found: f"••••{found[0].rstrip('=')[-_SHOWN:]}", id)
