"""The format of API keys: `ia_live_` · a name of 12 characters · `_` · a secret of 43 · a checksum of 6.

Prefix and checksum serve secret scanners: they recognise a key without a query. The checksum also distinguishes a
mistyped key from an unknown one without asking the database.
"""

import hashlib
import re
import secrets
import zlib
from dataclasses import dataclass, field
from enum import StrEnum

_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_NAME, _SECRET, _CHECKSUM = 12, 43, 6
_MARK = "ia_"


class KeyKind(StrEnum):
    """Which recipients the messages of a key may reach."""

    LIVE = "LIVE"
    ALLOW_LIST = "ALLOW_LIST"
    TEST = "TEST"


_WORDS = {KeyKind.LIVE: "live", KeyKind.ALLOW_LIST: "allow", KeyKind.TEST: "test"}
PATTERN = rf"ia_(live|allow|test)_([0-9A-Za-z]{{{_NAME}}})_[0-9A-Za-z]{{{_SECRET + _CHECKSUM}}}"
"""For secret scanners; what matches is a key if its checksum fits."""
_SHAPE = re.compile(PATTERN, re.ASCII)


@dataclass(frozen=True, slots=True)
class KeyParts:
    """The parts of a key: the name it is found by, and the hash it is verified with."""

    kind: KeyKind
    name: str
    hash: bytes = field(repr=False)


def generate_key(kind: KeyKind) -> tuple[str, KeyParts]:
    """Make a key with 256 random bits; the text is shown once and never stored."""
    name = "".join(secrets.choice(_DIGITS) for _ in range(_NAME))
    body = f"{_MARK}{_WORDS[kind]}_{name}_{_base62(secrets.randbits(256), _SECRET)}"
    text = body + _checksum(body)
    return text, KeyParts(kind, name, _hash(text))


def looks_like_key(token: str) -> bool:
    """Whether a token has the prefix of API keys, which no other kind of token has."""
    return token.startswith(_MARK)


def parse_key(token: str) -> KeyParts | None:
    """Split a key into its parts; None for text that is not a whole key."""
    found = _SHAPE.fullmatch(token)
    if found is None or _checksum(token[:-_CHECKSUM]) != token[-_CHECKSUM:]:
        return None
    kind = next(kind for kind, word in _WORDS.items() if word == found[1])
    return KeyParts(kind, found[2], _hash(token))


def key_prefix(kind: KeyKind, name: str) -> str:
    """The beginning of a key: it identifies the key and holds no secret."""
    return f"{_MARK}{_WORDS[kind]}_{name}"


def key_name_in(text: str) -> str | None:
    """The name in a key, or in its prefix; None where there is none."""
    found = re.fullmatch(rf"ia_(?:live|allow|test)_([0-9A-Za-z]{{{_NAME}}})(?:_[0-9A-Za-z]*)?", text, re.ASCII)
    return None if found is None else found[1]


def _hash(token: str) -> bytes:
    # No slow hash is needed: 256 random bits cannot be guessed, and this runs with every request.
    return hashlib.sha256(token.encode()).digest()


def _checksum(body: str) -> str:
    return _base62(zlib.crc32(body.encode()), _CHECKSUM)


def _base62(number: int, length: int) -> str:
    digits = []
    for _ in range(length):
        number, digit = divmod(number, len(_DIGITS))
        digits.append(_DIGITS[digit])
    return "".join(reversed(digits))
