"""Builds input classes from clients' values, by a plan that is made once for each class.

Strawberry finds out the name and type of every field anew for every request: a fifth of what accepting a message cost.
graphql-core has coerced the values already when they come here; all that is left is to put them into their classes.
"""

from collections.abc import Callable, Mapping
from dataclasses import MISSING
from typing import Any

import strawberry
from graphql import GraphQLInputObjectType
from strawberry.relay import GlobalID
from strawberry.schema import Schema
from strawberry.schema.compat import is_scalar
from strawberry.schema.schema_converter import GraphQLCoreConverter
from strawberry.types.arguments import InputContext
from strawberry.types.base import (
    StrawberryList,
    StrawberryMaybe,
    StrawberryObjectDefinition,
    StrawberryOptional,
    StrawberryType,
    get_object_definition,
)
from strawberry.types.enum import StrawberryEnumDefinition, has_enum_definition
from strawberry.types.lazy_type import LazyType

Convert = Callable[[Any, InputContext], Any]
"""Makes of a coerced value what its field holds."""


def build_by_plan(schema: Schema) -> None:
    """Have every input class of a schema made by a plan of its own."""
    for one in schema._schema.type_map.values():
        if isinstance(one, GraphQLInputObjectType):
            definition = one.extensions.get(GraphQLCoreConverter.DEFINITION_BACKREF)
            if isinstance(definition, StrawberryObjectDefinition) and definition.from_input is None:
                definition.from_input = _plan(definition, schema)


def _plan(definition: StrawberryObjectDefinition, schema: Schema) -> Callable[..., Any]:
    name_of = schema.config.name_converter.from_field
    # As Strawberry has it: a field that was left out and says nothing else is null.
    absent = {
        one.python_name: None
        for one in definition.fields
        if one.default_value is MISSING and one.default_factory is MISSING
    }
    fields = [
        (name_of(one), one.python_name, _convert(one.resolve_type(type_definition=definition), schema))
        for one in definition.fields
    ]

    def build(made: type, written: Mapping[str, Any], context: InputContext) -> Any:
        attributes: dict[str, Any] = absent.copy()
        for name, attribute, convert in fields:
            if name in written:
                value = written[name]
                attributes[attribute] = value if convert is None else convert(value, context)
        return made(**attributes)

    return build


def _convert(kind: StrawberryType | type, schema: Schema) -> Convert | None:
    """How values of a type are converted; None where they are as they should be."""
    if isinstance(kind, LazyType):
        return _convert(kind.resolve_type(), schema)
    if isinstance(kind, StrawberryOptional) and not isinstance(kind, StrawberryMaybe):
        return _convert(kind.of_type, schema)
    if isinstance(kind, StrawberryList):
        return _each(_convert(kind.of_type, schema))
    if kind is not GlobalID and (
        is_scalar(kind, schema.schema_converter.scalar_registry)
        or isinstance(kind, StrawberryEnumDefinition)
        or has_enum_definition(kind)
    ):
        return None
    definition = get_object_definition(kind)
    if definition is not None and definition.is_input:
        return _nested(definition)
    return lambda value, context: context.convert(value, kind)


def _each(convert: Convert | None) -> Convert:
    def converted(values: Any, context: InputContext) -> Any:
        if values is None or values is strawberry.UNSET:
            return values
        # Copied all the same: a default is one list for everybody.
        return list(values) if convert is None else [convert(one, context) for one in values]

    return converted


def _nested(definition: StrawberryObjectDefinition) -> Convert:
    def converted(value: Any, context: InputContext) -> Any:
        if value is None or value is strawberry.UNSET:
            return value
        # Asked for late: the plan of a class that holds itself, or one further down, is not made yet.
        if definition.from_input is None:
            return context.convert(value, definition.origin)
        return definition.from_input(definition.origin, value, context)

    return converted
