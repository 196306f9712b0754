"""Arguments a caller may leave out: nothing to us, UNSET to Strawberry."""

from typing import TypeVar

import strawberry

Value = TypeVar("Value")


def given(value: Value | None) -> Value | None:
    """What was given; None where it was left out. Zero, the empty string and the empty list were given."""
    return None if value is strawberry.UNSET else value
