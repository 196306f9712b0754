"""Documents that cost too much are refused before anybody validates them."""

import pytest
from graphql import get_introspection_query, parse

from engine.engine import Engine
from engine.limits import Limits, Ruler, exceeded
from engine.plan import Plan, Refusal


def limit_of(text: str) -> object:
    error = exceeded(parse(text), Limits())
    return error.extensions["limit"] if error and error.extensions else None


def nested(depth: int) -> str:
    return "{ box " * (depth - 1) + "{ size " + "}" * depth


def test_a_fragment_bomb_costs_no_more_than_its_bytes() -> None:
    levels = 30
    bomb = "".join(f"fragment F{n} on Query {{ ...F{n + 1} ...F{n + 1} }} " for n in range(levels))
    document = parse("{ ...F0 } " + bomb + f"fragment F{levels} on Query {{ hello }}")
    ruler = Ruler(document, Limits())
    measure = ruler.measure(document.definitions[0])  # type: ignore[arg-type]
    assert ruler.visited == 1 + 2 * levels + 1
    assert measure.fields == 2**levels
    error = exceeded(document, Limits())
    assert error is not None
    assert error.extensions == {"code": "LIMIT_EXCEEDED", "limit": "fields", "found": None, "allowed": 400}


def test_a_limit_says_what_it_found_and_what_is_allowed() -> None:
    error = exceeded(parse("{ box { " + "size " * 450 + "} }"), Limits())
    assert error is not None
    assert error.message == "The document is over a limit: fields 451, allowed 400."
    assert error.extensions == {"code": "LIMIT_EXCEEDED", "limit": "fields", "found": 451, "allowed": 400}


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        (nested(11), "depth"),
        ("{ ...A } fragment A on Query { box { box { ...B } } } fragment B on Box " + nested(9), "depth"),
        ("{ " + " ".join(f"a{n}: hello" for n in range(21)) + " }", "rootFields"),
        ("{ ...A ...A } fragment A on Query { " + "hello " * 11 + "}", "rootFields"),
        ("{ box { " + " ".join(f"a{n}: size" for n in range(31)) + " } }", "aliases"),
        ("{ box { " + "size " * 400 + "} }", "fields"),
        ("{ hello @a @a @a @a @a @a }", "directivesOnANode"),
        ("{ box { " + "size @skip(if: false) " * 31 + "} }", "directives"),
        ("{ hello } fragment Unused on Query { hello @a @a @a @a @a @a }", "directivesOnANode"),
        ("query ($a: Int @a @a @a @a @a @a) { hello }", "directivesOnANode"),
        (" ".join(f"query Q{n} {{ hello }}" for n in range(11)), "operations"),
        ("{ hello } " + " ".join(f"fragment F{n} on Query {{ hello }}" for n in range(51)), "fragments"),
        ("{ __schema { __typename } again: __schema { __typename } }", "schemaIntrospections"),
        (nested(190), "nesting"),
    ],
)
def test_each_limit_is_found_and_named(text: str, limit: str) -> None:
    assert limit_of(text) == limit


@pytest.mark.parametrize(
    "text",
    [
        nested(10),
        "{ " + " ".join(f"a{n}: hello" for n in range(20)) + " }",
        "{ box { " + "size " * 399 + "} }",
        "{ hello @a @a @a @a @a }",
        "{ box { ...A } } fragment A on Box { " + "size " * 100 + "}",
        "{ ...A } fragment A on Query { ...A }",
        "{ ...Nowhere }",
        get_introspection_query(specified_by_url=True, schema_description=True, input_value_deprecation=True),
    ],
)
def test_what_stays_within_the_limits_passes(text: str) -> None:
    assert limit_of(text) is None


def test_a_chain_of_fragments_too_deep_for_the_interpreter_is_refused() -> None:
    chain = "".join(f"fragment F{n} on Box {'{ box ' * 15}{{ ...F{n + 1} }}{'}' * 15} " for n in range(40))
    assert limit_of("{ box { ...F0 } } " + chain + "fragment F40 on Box { size }") == "nesting"


@pytest.mark.parametrize(
    ("text", "limit", "allowed"),
    [
        ("{ " + "hello " * 2_000 + "}", "tokens", 2_000),
        ("#\n" * 201 + "{ hello }", "comments", 200),
        ("{ hello } #" + "x" * 65_536, "characters", 65_536),
    ],
)
def test_a_document_too_long_to_parse_is_refused(engine: Engine, text: str, limit: str, allowed: int) -> None:
    plan = engine.plan(text)
    assert isinstance(plan, Refusal)
    (error,) = plan.errors
    assert (error["extensions"]["code"], error["extensions"]["limit"]) == ("LIMIT_EXCEEDED", limit)
    assert error["extensions"]["allowed"] == allowed


def test_introspection_that_goes_round_in_circles_is_refused(engine: Engine) -> None:
    circle = "{ __schema { types { fields { type { fields { type { fields { name } } } } } } } }"
    plan = engine.plan(circle, introspection=True)
    assert isinstance(plan, Refusal)
    assert "introspection depth" in plan.errors[0]["message"]


def test_the_introspection_of_every_tool_passes_where_it_is_open(engine: Engine) -> None:
    assert isinstance(engine.plan(get_introspection_query(), introspection=True), Plan)
