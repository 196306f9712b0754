"""Shared parts of fields: optional arguments, scopes, computed fields, the `Node` interface, tags."""

from collections.abc import Callable
from typing import Any, TypeVar, cast

import strawberry
from graphql import GraphQLField, GraphQLObjectType, GraphQLSchema
from strawberry.schema.schema_converter import GraphQLCoreConverter

from core.ports.identity import Scope

Value = TypeVar("Value")


def given(value: Value | None) -> Value | None:
    """What was given; None where it was left out. Zero, the empty string and the empty list were given."""
    return None if value is strawberry.UNSET else value


# The scope of a field: declared once with the field, printed in its description, and checked here.


_SCOPE = "scope"
OPEN = frozenset({"Query.node", "Query.nodes", "Query.viewer"})
"""Root fields without a scope: `node` and `nodes` ask by the kind of object, `viewer` tells of the caller alone."""


def guarded(resolver: Callable[..., Any], scope: Scope, description: str) -> Any:
    """Declare a root field, of queries or mutations, that only callers with a scope may ask for."""
    return strawberry.field(resolver=resolver, **needing(scope, description))


def guarded_stream(resolver: Callable[..., Any], scope: Scope, description: str) -> Any:
    """Declare a subscription that only callers with a scope may follow."""
    return strawberry.subscription(resolver=resolver, **needing(scope, description))


def needing(scope: Scope, description: str) -> dict[str, Any]:
    """What a field is declared with so that it needs a scope."""
    return {"description": f"{description} Needs `{scope}`.", "metadata": {_SCOPE: scope}}


def scope_of(field: GraphQLField) -> Scope | None:
    """The scope a field was declared to need; None where it needs none."""
    definition = field.extensions.get(GraphQLCoreConverter.DEFINITION_BACKREF)
    scope: Scope | None = None if definition is None else definition.metadata.get(_SCOPE)
    return scope


def hold_to_scopes(schema: GraphQLSchema) -> None:
    """Refuse every field that needs a scope to callers who lack it, before anything of the field is done."""
    for one in schema.type_map.values():
        if isinstance(one, GraphQLObjectType):
            for field in one.fields.values():
                if (scope := scope_of(field)) is not None:
                    _guard(field, scope)


def _guard(field: GraphQLField, scope: Scope) -> None:
    # Of a subscription it is asked once, when it begins: what comes of it was allowed then.
    name = "subscribe" if field.subscribe is not None else "resolve"
    inner = getattr(field, name)

    def checked(source: Any, info: Any, **arguments: Any) -> Any:
        info.context.require(scope)
        return inner(source, info, **arguments)

    setattr(field, name, checked)


# Declares a computed field with its description; Strawberry's decorator loses the method's type.


Method = TypeVar("Method", bound=Callable[..., Any])


def computed(
    description: str | None = None, *, name: str | None = None, scope: Scope | None = None
) -> Callable[[Method], Method]:
    """Make a method a field of its type; with a scope, only for callers who hold it."""
    words: dict[str, Any] = {"description": description} if scope is None else needing(scope, description or "")
    return cast("Callable[[Method], Method]", strawberry.field(name=name, **words))


# Objects that can be fetched by their id.


@strawberry.interface(description="An object that can be fetched by its id.")
class Node:
    id: strawberry.ID = strawberry.field(
        description="Opaque and globally unique. Store and compare it, but do not parse it."
    )


# Labels of callers: pairs of a key and a value.


@strawberry.type(description="A label of the caller's own.")
class Tag:
    key: str
    value: str


@strawberry.input(description="A label of the caller's own, or a template variable and its value.")
class TagInput:
    key: str
    value: str
