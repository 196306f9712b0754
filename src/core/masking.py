"""Companies' ids that spell a person's number, and how they are shown to whoever may not see it.

WhatsApp's ids of messages hold the person's number in base64: whoever reads one can read the other.
"""

import binascii
import re
from base64 import b64decode
from collections.abc import Iterator, Sequence
from unicodedata import decimal, normalize

from core.sealing import NOBODYS, Sealer

_ENCODED = re.compile(r"[A-Za-z0-9+/]{16,}={0,2}")
# As long as telephone numbers with their country are.
_NUMBER = re.compile(r"(?<![0-9])[0-9]{8,15}(?![0-9])")
_SHOWN = 4


def decoded_parts(text: str) -> Iterator[str]:
    """What stands encoded inside a text, in base64, as far as anything does."""
    for found in _ENCODED.findall(text):
        yield from _decoded(found.rstrip("="))


def _decoded(encoded: str) -> Iterator[str]:
    try:
        yield b64decode(encoded + "=" * (-len(encoded) % 4), validate=True).decode("latin-1")
    except (binascii.Error, ValueError):
        return


def encodes_phone_number(id: str) -> bool:
    """Whether an id holds somebody's number for whoever decodes it."""
    return any(_NUMBER.search(text) for text in decoded_parts(id))


# Ids that machines make: UUIDs, trace ids and hashes in hexadecimal, ULIDs. Digits in a row say nothing in them.
_MADE_BY_MACHINES = re.compile(
    r"(?i)(?<![0-9a-z])(?:"
    r"(?=[0-9-]*[a-f])[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
    r"|(?=[0-9]*[a-f])(?:[0-9a-f]{64}|[0-9a-f]{40}|[0-9a-f]{32})"
    r"|0(?=[0-9]*[a-z])[0-9a-hjkmnp-tv-z]{25}"
    r")(?![0-9a-z])"
)
_DATE = re.compile(r"(?<![0-9])(?:19|20)[0-9]{2}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])(?![0-9])")
_MAIL = re.compile(r"(?i)[^\s@]+(?:@|%40)[^\s@]+\.[a-z]")
# Narrower, as what is decoded by mistake is any bytes at all.
_MAIL_DECODED = re.compile(r"(?i)[a-z0-9._+-]+@[a-z0-9-]+\.[a-z]{2}")
_DIGITS = re.compile(r"[0-9](?:[ ().+_-]{0,3}[0-9]){7,}")


def contains_address(text: str) -> bool:
    """Whether a text that somebody chose holds an e-mail address, or digits enough for a telephone number.

    Written as people write numbers, or encoded in base64. Dates and ids that machines make are not taken for numbers.
    """
    text = plain_digits(text)
    if (
        _MAIL.search(text)
        or encodes_phone_number(text)
        or any(_MAIL_DECODED.search(one) for one in decoded_parts(text))
    ):
        return True
    return _DIGITS.search(_DATE.sub(" | ", _MADE_BY_MACHINES.sub(" | ", text))) is not None


def plain_digits(text: str) -> str:
    """A text with its digits, of whichever script, and full-width signs as ASCII has them."""
    signs = normalize("NFKC", text)
    return "".join(str(decimal(sign)) if sign.isdecimal() else sign for sign in signs)


def mask_id(id: str) -> str:
    """An id as it is shown to whoever may not see addresses: of what spells a number, only the end."""
    if not encodes_phone_number(id):
        return id
    return _ENCODED.sub(lambda found: f"••••{found[0].rstrip('=')[-_SHOWN:]}", id)


# What is kept in place of an id that spells a person's number, once nobody is to be recognised by it.
#
# A keyed hash stands for the id: a report that names the id still finds it, and so does the same thing told again.


MARK = "~"


def pseudonym(sealer: Sealer, id: str) -> str:
    """What is kept in place of an id that spells a number; any other id as it is."""
    return _marked(sealer.lookup_hash(id, tenant=NOBODYS)) if encodes_phone_number(id) else id


def stored_forms(sealer: Sealer, id: str) -> Sequence[str]:
    """Every form in which an id may have been kept, itself first."""
    if not encodes_phone_number(id):
        return [id]
    return [id, *(_marked(found) for found in sealer.lookup_hashes(id, tenant=NOBODYS))]


def _marked(hash: bytes) -> str:
    return f"{MARK}{hash.hex()}"
