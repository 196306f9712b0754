"""Ids and names that contain a person's address: how they are recognised, masked, and replaced by an erasure.

WhatsApp's ids of messages contain the person's number in base64. Masked, such an id shows its end only. When it is
erased, a keyed hash replaces it: a report that names the id still finds the row, and a repeated event is recognised.
"""

import binascii
import re
from base64 import b64decode
from collections.abc import Iterator, Sequence
from unicodedata import decimal, normalize

from core.sealing import NO_TENANT, Sealer

BASE64_PART = "[A-Za-z0-9+/]{16,}"
"""A regular expression, also valid in PostgreSQL, for a part of a text that may be base64, without its padding."""
_ENCODED = re.compile(BASE64_PART + "={0,2}")
# As long as telephone numbers with their country are.
_NUMBER = re.compile(r"(?<![0-9])[0-9]{8,15}(?![0-9])")
_SHOWN = 4


def decoded_parts(text: str) -> Iterator[str]:
    """The parts of a text that are base64, decoded."""
    for found in _ENCODED.findall(text):
        yield from _decoded(found.rstrip("="))


def _decoded(encoded: str) -> Iterator[str]:
    try:
        yield b64decode(encoded + "=" * (-len(encoded) % 4), validate=True).decode("latin-1")
    except (binascii.Error, ValueError):
        return


def encodes_phone_number(id: str) -> bool:
    """Whether an id contains a telephone number in base64."""
    return any(_NUMBER.search(text) for text in decoded_parts(id))


# Generated ids: UUIDs, trace ids and hashes in hexadecimal, ULIDs. Their rows of digits are no telephone numbers.
_MADE_BY_MACHINES = re.compile(
    r"(?i)(?<![0-9a-z])(?:"
    r"(?=[0-9-]*[a-f])[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
    r"|(?=[0-9]*[a-f])(?:[0-9a-f]{64}|[0-9a-f]{40}|[0-9a-f]{32})"
    r"|0(?=[0-9]*[a-z])[0-9a-hjkmnp-tv-z]{25}"
    r")(?![0-9a-z])"
)
_DATE = re.compile(r"(?<![0-9])(?:19|20)[0-9]{2}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])(?![0-9])")
_MAIL = re.compile(r"(?i)[^\s@]+(?:@|%40)[^\s@]+\.[a-z]")
# Narrower, since text that was not base64 decodes to arbitrary bytes.
_MAIL_DECODED = re.compile(r"(?i)[a-z0-9._+-]+@[a-z0-9-]+\.[a-z]{2}")
_DIGITS = re.compile(r"[0-9](?:[ ().+_-]{0,3}[0-9]){7,}")


def contains_address(text: str) -> bool:
    """Whether a text that a caller chose contains an e-mail address, or enough digits for a telephone number.

    Numbers are found with spaces and punctuation, and in base64. Dates and generated ids do not count as numbers.
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
    """A text with the digits of any script, and full-width signs, as ASCII."""
    signs = normalize("NFKC", text)
    return "".join(str(decimal(sign)) if sign.isdecimal() else sign for sign in signs)


def mask_id(id: str) -> str:
    """An id as callers without the right to see addresses are shown it: where it contains a number, only its end."""
    if not encodes_phone_number(id):
        return id
    return _ENCODED.sub(lambda found: f"••••{found[0].rstrip('=')[-_SHOWN:]}", id)


MARK = "~"


def pseudonym(sealer: Sealer, id: str) -> str:
    """The keyed hash that replaces an id with a telephone number; any other id as it is."""
    return _marked(sealer.lookup_hash(id, tenant=NO_TENANT)) if encodes_phone_number(id) else id


def stored_forms(sealer: Sealer, id: str) -> Sequence[str]:
    """Every form in which an id may be stored, itself first."""
    if not encodes_phone_number(id):
        return [id]
    return [id, *(_marked(found) for found in sealer.lookup_hashes(id, tenant=NO_TENANT))]


def _marked(hash: bytes) -> str:
    return f"{MARK}{hash.hex()}"
