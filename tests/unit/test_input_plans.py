"""Input classes are made as Strawberry makes them, whatever a client sent or left out."""

from collections.abc import Mapping
from typing import Any

import pytest
from graphql import GraphQLInputObjectType, GraphQLInputType, is_list_type, is_non_null_type
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some
from strawberry.schema import Schema
from strawberry.schema.schema_converter import GraphQLCoreConverter
from strawberry.types.arguments import convert_argument
from strawberry.types.base import StrawberryObjectDefinition

from resolvers.schema import build_schema

SCHEMA = build_schema()
INPUTS = {name: one for name, one in SCHEMA._schema.type_map.items() if isinstance(one, GraphQLInputObjectType)}


def definition_of(kind: GraphQLInputObjectType) -> StrawberryObjectDefinition:
    found = kind.extensions[GraphQLCoreConverter.DEFINITION_BACKREF]
    assert isinstance(found, StrawberryObjectDefinition)
    return found


def written(kind: GraphQLInputType) -> some.SearchStrategy[Any]:
    """What graphql-core makes of a value that fits."""
    if is_non_null_type(kind):
        return present(kind.of_type)
    return some.none() | present(kind)


def present(kind: Any) -> some.SearchStrategy[Any]:
    if is_list_type(kind):
        return some.lists(written(kind.of_type), max_size=2)
    if not isinstance(kind, GraphQLInputObjectType):
        # Scalars and enums pass through unchanged.
        return some.sampled_from(["", "Ana", 0, 7, True])
    required = {name: written(one.type) for name, one in kind.fields.items() if is_non_null_type(one.type)}
    optional = {name: written(one.type) for name, one in kind.fields.items() if name not in required}
    return some.fixed_dictionaries(required, optional=optional)


def made(kind: GraphQLInputObjectType, value: Mapping[str, Any]) -> object:
    schema: Schema = SCHEMA
    return convert_argument(value, definition_of(kind).origin, schema.schema_converter.scalar_registry, schema.config)


def test_a_plan_makes_what_strawberry_makes(subtests: pytest.Subtests) -> None:
    for name in INPUTS:
        with subtests.test(name):
            compare_with_strawberry(name)


def compare_with_strawberry(name: str) -> None:
    @settings(max_examples=20, suppress_health_check=[HealthCheck.too_slow])
    @given(data=some.data())
    def compare(data: some.DataObject) -> None:
        kind = INPUTS[name]
        value = data.draw(present(kind))
        planned = made(kind, value)
        with pytest.MonkeyPatch.context() as patch:
            for one in INPUTS.values():
                patch.setattr(definition_of(one), "from_input", None)
            assert made(kind, value) == planned

    compare()


def test_every_input_class_has_a_plan(subtests: pytest.Subtests) -> None:
    for name in INPUTS:
        with subtests.test(name):
            assert definition_of(INPUTS[name]).from_input is not None


def test_a_list_is_copied_since_a_default_is_one_for_all_requests() -> None:
    kind, tags = INPUTS["TemplateContentInput"], [{"key": "name", "value": "Ana"}]
    first = made(kind, {"templateId": "x", "variables": tags})
    assert vars(first)["variables"] is not tags
