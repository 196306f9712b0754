"""Reading JSON that somebody else wrote: what is not as it should be is absent, and nothing raises."""

import json
from collections.abc import Sequence
from typing import Any

Json = dict[str, Any]


def load(body: bytes) -> Any:
    """The value in a body; None where it is not JSON."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def part(data: Any, name: str) -> Json:
    """The object under a name; an empty one where there is none."""
    value = data.get(name) if isinstance(data, dict) else None
    return value if isinstance(value, dict) else {}


def items(data: Any, name: str) -> Sequence[Any]:
    """The list under a name; an empty one where there is none."""
    value = data.get(name) if isinstance(data, dict) else None
    return value if isinstance(value, list) else []


def first(data: Any, name: str) -> Json:
    """The first object of the list under a name; an empty one where there is none."""
    return next((item for item in items(data, name) if isinstance(item, dict)), {})


def text(data: Any, name: str) -> str | None:
    """The text under a name, with whole characters only: half of a surrogate pair becomes a question mark."""
    value = data.get(name) if isinstance(data, dict) else None
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else None


def number(data: Any, name: str) -> int | None:
    """The whole number under a name, if it is of a sensible size and not negative."""
    value = data.get(name) if isinstance(data, dict) else None
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**11 else None
