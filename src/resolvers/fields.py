"""Declaring a computed field with its description; Strawberry's own decorator loses the method's type."""

from collections.abc import Callable
from typing import Any, TypeVar, cast

import strawberry

Method = TypeVar("Method", bound=Callable[..., Any])


def computed(description: str | None = None, *, name: str | None = None) -> Callable[[Method], Method]:
    """Make a method a field of its type."""
    return cast("Callable[[Method], Method]", strawberry.field(name=name, description=description))
