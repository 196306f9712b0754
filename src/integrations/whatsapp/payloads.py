"""Reads Meta's JSON without trusting it: a value of another form than expected counts as absent, and nothing raises."""

import json
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

Json = dict[str, Any]


def parse_json(body: bytes) -> Any:
    """Return the value in a body; None where it is not JSON."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def object_under(data: Any, name: str) -> Json:
    """Return the object under a name; an empty one where there is none."""
    value = data.get(name) if isinstance(data, dict) else None
    return value if isinstance(value, dict) else {}


def list_under(data: Any, name: str) -> Sequence[Any]:
    """Return the list under a name; an empty one where there is none."""
    value = data.get(name) if isinstance(data, dict) else None
    return value if isinstance(value, list) else []


def first_object(data: Any, name: str) -> Json:
    """Return the first object of the list under a name; an empty one where there is none."""
    return next((item for item in list_under(data, name) if isinstance(item, dict)), {})


def text_under(data: Any, name: str) -> str | None:
    """Return the text under a name; half of a surrogate pair becomes a question mark."""
    value = data.get(name) if isinstance(data, dict) else None
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else None


def number_under(data: Any, name: str) -> int | None:
    """Return the whole number under a name, if it is not negative and of a plausible size."""
    value = data.get(name) if isinstance(data, dict) else None
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**11 else None


# The accepted forms of values from a webhook; other values are not stored.


_ID = re.compile(r"[\x21-\x7e]{1,256}")
_KEYWORD = re.compile("[A-Za-z_]{1,64}")
_DIGITS = re.compile("[0-9]{5,20}")
_USER_ID = re.compile(r"[A-Z]{2}\.[A-Za-z0-9.]{1,150}")
_SECONDS = re.compile("[0-9]{1,11}")


def as_keyword(found: str) -> str | None:
    """Return the text if it has the form of Meta's keywords."""
    return found if _KEYWORD.fullmatch(found) else None


def keyword(data: Json, name: str) -> str | None:
    """Return one of Meta's keywords."""
    return _matching(_KEYWORD, data, name)


def message_id(data: Json, name: str) -> str | None:
    """Return a message's id; its form is Meta's, its length is limited for the index."""
    return _matching(_ID, data, name)


def digits(data: Json, name: str) -> str | None:
    """Return the digits of a number, or the id of a number."""
    return _matching(_DIGITS, data, name)


def user_id(data: Json, name: str) -> str | None:
    """Return a person's id within one business: a country, a dot, and letters and digits."""
    return _matching(_USER_ID, data, name)


def timestamp(data: Json, name: str) -> datetime | None:
    """Return a time, which Meta writes as a string of seconds."""
    seconds = _matching(_SECONDS, data, name)
    return datetime.fromtimestamp(int(seconds), UTC) if seconds else None


def _matching(form: re.Pattern[str], data: Json, name: str) -> str | None:
    found = text_under(data, name)
    return found if found is not None and form.fullmatch(found) else None
