"""Variables are read as graphql-core reads them: valid ones have the same result, invalid ones are left to it."""

import gc
import tracemalloc
from typing import Any

import pytest
from graphql import (
    GraphQLEnumType,
    GraphQLInputObjectType,
    GraphQLScalarType,
    OperationDefinitionNode,
    build_schema,
    get_variable_values,
    is_input_type,
    is_list_type,
    is_non_null_type,
    parse,
)
from graphql.execution.values import VariableValues
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as some

from engine.variables import reader_of
from resolvers.schema import build_schema as build_ours

OURS = build_ours()._schema
FITTING: dict[str, list[Any]] = {
    "DateTime": ["2026-11-26T10:00:00Z"],
    "Duration": ["PT10M"],
    "Int": [0, -1, 2**31 - 1],
    "Float": [0, 1.5],
    "Boolean": [True, False],
}
ODD: list[Any] = [None, 7, 1.5, "seven", "", True, [], {}, [None], [[7]], {"x": 1}, 2**40, float("inf")]


def values(kind: Any, odd: bool) -> some.SearchStrategy[Any]:
    """What a client may send for a type; if `odd`, with mistakes here and there."""
    if is_non_null_type(kind):
        return values(kind.of_type, odd) if not odd else fitting(kind.of_type, odd) | some.sampled_from(ODD)
    return some.none() | fitting(kind, odd)


def fitting(kind: Any, odd: bool) -> some.SearchStrategy[Any]:
    if is_non_null_type(kind):
        return fitting(kind.of_type, odd)
    if is_list_type(kind):
        return some.lists(values(kind.of_type, odd) if odd else member(kind.of_type), max_size=2)
    if isinstance(kind, GraphQLInputObjectType):
        return written(kind, odd)
    if isinstance(kind, GraphQLEnumType):
        return some.sampled_from(list(kind.values))
    assert isinstance(kind, GraphQLScalarType)
    return some.sampled_from(FITTING.get(kind.name, ["Ana", "Zé 🏊"]))


def member(kind: Any) -> some.SearchStrategy[Any]:
    return fitting(kind, False) if is_non_null_type(kind) else values(kind, False)


def written(kind: GraphQLInputObjectType, odd: bool) -> some.SearchStrategy[Any]:
    if kind.is_one_of and not odd:
        names = some.sampled_from(list(kind.fields))
        return names.flatmap(lambda name: some.fixed_dictionaries({name: fitting(kind.fields[name].type, odd)}))
    required = {name: member(one.type) for name, one in kind.fields.items() if is_non_null_type(one.type)}
    optional = {name: values(one.type, odd) for name, one in kind.fields.items()}
    if odd:
        return some.fixed_dictionaries({}, optional={**optional, "unknown": some.just(1)})
    return some.fixed_dictionaries(
        required, optional={name: optional[name] for name in optional if name not in required}
    )


def plainly(found: VariableValues) -> str:
    """All there is to see; 1, 1.0 and True are equal, and not the same."""
    sources = {name: (str(one.signature.type), one.value) for name, one in found.sources.items()}
    return repr((sources, found.coerced))


def operation_of(text: str) -> OperationDefinitionNode:
    [operation] = parse(text).definitions
    assert isinstance(operation, OperationDefinitionNode)
    return operation


TYPES = [str(one) for one in OURS.type_map.values() if is_input_type(one) and not one.name.startswith("__")]


def test_what_is_read_is_what_graphql_core_reads(subtests: pytest.Subtests) -> None:
    for name in TYPES:
        with subtests.test(name):
            compare_with_graphql_core(name)


def compare_with_graphql_core(name: str) -> None:
    @settings(max_examples=15, phases=[Phase.generate], deadline=None, suppress_health_check=list(HealthCheck))
    @given(data=some.data())
    def compare(data: some.DataObject) -> None:
        ending = data.draw(some.sampled_from(["", "!"]))
        operation = operation_of(f"query ($one: {name}{ending}, $two: [{name}!]) {{ __typename }}")
        reader, kind, odd = reader_of(OURS, operation), OURS.type_map[name], data.draw(some.booleans())
        given = {"one": data.draw(fitting(kind, odd) | (some.sampled_from(ODD) if odd else some.nothing()))}
        if data.draw(some.booleans()):
            given["two"] = data.draw(some.none() | some.lists(fitting(kind, odd), max_size=2))
        expected = get_variable_values(OURS, operation.variable_definitions or (), given)
        found = reader(given)
        if isinstance(expected, list):
            assert found is None
        elif found is not None or not odd:
            assert found is not None
            assert plainly(found) == plainly(expected)

    compare()


SMALL = build_schema("""
    type Query { a: Int }
    input Tree { left: Tree, name: String }
    input Grove { name: String, trees: [Tree!] }
    input Husband { wife: Wife }
    input Wife { name: String, husband: Husband }
    input Sized { width: Int = 3, height: Int! }
""")


@pytest.mark.parametrize(
    ("variables", "given", "is_read"),
    [
        ("$a: Sized!", {"a": {"height": 1}}, True),
        ("$a: Sized!", {}, False),
        ("$a: Sized", {}, True),
        ("$a: Int = 3", {}, False),
        ("$a: Int = 3", {"a": 4}, True),
        ("$a: [Int]", {"a": 4}, False),
        ("$a: Tree", {"a": {"name": "x"}}, False),
        ("$a: Grove", {"a": {"name": "x"}}, False),
        ("$a: Husband", {"a": {"wife": {"name": "x"}}}, False),
        ("$a: Wife", {"a": {"name": "x"}}, False),
        ("$a: Wife, $b: Husband, $c: Sized", {"c": {"height": 1}}, False),
        ("$a: Sized", {"a": {"height": 1, "depth": 2}}, False),
        ("$a: Int", {"a": 1, "unasked": 2}, True),
    ],
)
def test_what_is_left_to_graphql_core(variables: str, given: dict[str, Any], is_read: bool) -> None:
    operation = operation_of(f"query ({variables}) {{ a }}")
    found = reader_of(SMALL, operation)(given)
    assert (found is not None) == is_read
    expected = get_variable_values(SMALL, operation.variable_definitions or (), given)
    assert found is None or (isinstance(expected, VariableValues) and plainly(found) == plainly(expected))


def test_what_a_document_declares_many_times_is_remembered_once() -> None:
    declared = " ".join(f"$v{number}: [SendMessageInput!]" for number in range(300))
    operation = operation_of(f"mutation ({declared}) {{ __typename }}")
    reader_of(OURS, operation)
    gc.collect()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        reader = reader_of(OURS, operation)
        gc.collect()
        weight = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert reader({}) is not None
    assert weight / len(declared) < 100
