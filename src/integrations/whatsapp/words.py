"""The forms of what we take over from a webhook; anything else is not stored as if it were one."""

import re
from datetime import UTC, datetime

from integrations.whatsapp.reading import Json, text

_ID = re.compile(r"[\x21-\x7e]{1,256}")
_WORD = re.compile("[A-Za-z_]{1,64}")
_DIGITS = re.compile("[0-9]{5,20}")
_USER_ID = re.compile(r"[A-Z]{2}\.[A-Za-z0-9.]{1,150}")
_SECONDS = re.compile("[0-9]{1,11}")


def as_word(found: str) -> str | None:
    """A text that is one of Meta's words."""
    return found if _WORD.fullmatch(found) else None


def word(data: Json, name: str) -> str | None:
    """One of Meta's words."""
    return _matching(_WORD, data, name)


def message_id(data: Json, name: str) -> str | None:
    """A message's id, of whatever form Meta gives it, short enough for an index."""
    return _matching(_ID, data, name)


def digits(data: Json, name: str) -> str | None:
    """A number's digits, or the id of a number."""
    return _matching(_DIGITS, data, name)


def user_id(data: Json, name: str) -> str | None:
    """A person's id within one business: a country, a dot, and what tells them apart."""
    return _matching(_USER_ID, data, name)


def moment(data: Json, name: str) -> datetime | None:
    """A moment, which Meta writes as a text of seconds."""
    seconds = _matching(_SECONDS, data, name)
    return datetime.fromtimestamp(int(seconds), UTC) if seconds else None


def _matching(form: re.Pattern[str], data: Json, name: str) -> str | None:
    found = text(data, name)
    return found if found is not None and form.fullmatch(found) else None
