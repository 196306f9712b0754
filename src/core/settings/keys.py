"""The keys that seal what we store: `id:base64 of 32 bytes`, several separated by commas, the first one current."""

import base64
import re
from dataclasses import dataclass

from pydantic import SecretBytes

from core.settings.problems import WrongValue

_FORM = "must be id:base64 of 32 bytes, several separated by commas"


@dataclass(frozen=True, slots=True)
class EncryptionKey:
    """A key and the name that sealed values carry of it."""

    id: str
    secret: SecretBytes


def parse_encryption_keys(text: object) -> object:
    """Read the keys out of their text; raises WrongValue saying what is wrong, without the text."""
    if not isinstance(text, str):
        return text
    keys = tuple(_parse_key(part.strip()) for part in text.split(","))
    if len({key.id for key in keys}) < len(keys):
        raise WrongValue("names two keys alike: give each an id of its own")
    return keys


def _parse_key(text: str) -> EncryptionKey:
    name, _, encoded = text.partition(":")
    if not re.fullmatch("[a-z0-9]{1,16}", name):
        raise WrongValue(f"{_FORM}; an id is 1 to 16 lower-case letters and digits")
    try:
        secret = base64.b64decode(encoded, validate=True)
    except ValueError:
        raise WrongValue(f"{_FORM}; the part after the colon is not base64") from None
    if len(secret) != 32:
        raise WrongValue(f"{_FORM}; a key here has {len(secret)}")
    return EncryptionKey(name, SecretBytes(secret))
