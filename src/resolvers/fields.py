"""Declaring a computed field with its description; Strawberry's own decorator loses the method's type."""

from collections.abc import Callable
from typing import Any, TypeVar, cast

import strawberry

from core.ports.principal import Scope
from resolvers.permissions import needing

Method = TypeVar("Method", bound=Callable[..., Any])


def computed(
    description: str | None = None, *, name: str | None = None, scope: Scope | None = None
) -> Callable[[Method], Method]:
    """Make a method a field of its type; with a scope, only for callers who hold it."""
    words: dict[str, Any] = {"description": description} if scope is None else needing(scope, description or "")
    return cast("Callable[[Method], Method]", strawberry.field(name=name, **words))
