"""What a company can be made to tell us, by name: each event with its sentence and what it may be given."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import AfterValidator, BaseModel, Field, ValidationError
from pydantic_core import PydanticCustomError

from integrations.simulating.webhooks import Webhook

Order = TypeVar("Order", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Event:
    """One event: `make` does it and gives the signed webhook that tells of it; raises like an action."""

    words: str
    parameters: Sequence[str]
    make: Callable[[Mapping[str, Any]], Webhook]


class AboutOrder(BaseModel, frozen=True, extra="forbid"):
    """Which message it is about, by the company's id: the newest that was sent when none is named."""

    message: str | None = Field(None, min_length=1, max_length=256)


# pydantic → ours. https://docs.pydantic.dev/latest/errors/validation_errors/
_PLAIN: Mapping[str, str] = {
    "missing": "it has to be given",
    "extra_forbidden": "nothing of this name is taken here",
    "string_type": "give text",
    "string_too_short": "give at least {min_length} characters",
    "string_too_long": "give at most {max_length} characters",
    "int_type": "give a whole number",
    "int_parsing": "give a whole number",
    "int_parsing_size": "give a smaller number",
    "int_from_float": "give a whole number",
    "float_type": "give a number",
    "float_parsing": "give a number",
    "finite_number": "give a number that is not endless",
    "bool_type": "say true or false",
    "bool_parsing": "say true or false",
    "list_type": "give a list",
    "dict_type": "give an object",
    "enum": "choose one of {expected}",
    "literal_error": "choose one of {expected}",
    "greater_than": "give a number above {gt}",
    "greater_than_equal": "give a number from {ge} on",
    "less_than": "give a number below {lt}",
    "less_than_equal": "give a number up to {le}",
    "too_long": "give at most {max_length} of them",
    "too_short": "give at least {min_length} of them",
    "datetime_parsing": "give a moment like 2026-12-01T09:30:00Z",
    "timezone_aware": "give a moment with its offset from UTC, like 2026-12-01T09:30:00Z",
}
_WORDED = "worded"


def written(pattern: str, words: str) -> AfterValidator:
    """Take text that matches a pattern; what does not is refused with words that say how it is written."""

    def check(text: str) -> str:
        if re.fullmatch(pattern, text) is None:
            raise PydanticCustomError(_WORDED, "{words}", {"words": words})
        return text

    return AfterValidator(check)


def plainly(error: ValidationError) -> tuple[str, str | None]:
    """Say the first thing that is wrong with an order in plain words, and which input is at fault."""
    first = error.errors(include_url=False)[0]
    field, kind, places = ".".join(map(str, first["loc"])) or None, first["type"], first.get("ctx", {})
    if kind == _WORDED:
        return str(places["words"]), field
    if kind == "value_error":
        return str(places["error"]), field
    return _PLAIN.get(kind, "this is not written as it is expected here").format_map(places), field


def event(words: str, order: type[Order], make: Callable[[Order], Webhook]) -> Event:
    """An event that takes what the fields of an order say."""
    return Event(words, tuple(order.model_fields), lambda given: make(order.model_validate(given)))
