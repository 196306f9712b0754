"""Documents that cost too much are refused before they are validated."""

from collections.abc import Callable
from dataclasses import fields, replace

import httpx
import pytest
from graphql import DocumentNode, get_introspection_query, parse

from engine.engine import Engine
from engine.limits import Limits, Ruler, exceeded
from engine.plan import Plan, Refusal, Runnable
from tests.execution.sample import schema, translate


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
    assert error.extensions == {
        "code": "LIMIT_EXCEEDED",
        "limit": "fields",
        "found": None,
        "allowed": 400,
        "over": None,
    }


def test_a_limit_says_what_it_found_and_what_is_allowed() -> None:
    error = exceeded(parse("{ box { " + "size " * 450 + "} }"), Limits())
    assert error is not None
    assert error.message == "The document exceeds a limit: fields 451, allowed 400."
    assert error.extensions == {
        "code": "LIMIT_EXCEEDED",
        "limit": "fields",
        "found": 451,
        "allowed": 400,
        "over": 51,
    }


def many(what: str, count: int) -> str:
    return " ".join(what.format(n=n) for n in range(count))


# Each limit's way to make a document that has exactly so much of it.
AS_MUCH: dict[str, Callable[[int], str]] = {
    "characters": lambda n: "{ hello }" + " " * (n - 9),
    "tokens": lambda n: "{ " + "hello " * (n - 2) + "}",
    "comments": lambda n: "#\n" * n + "{ hello }",
    "operations": lambda n: many("query Q{n} {{ hello }}", n),
    "fragments": lambda n: "{ hello } " + many("fragment F{n} on Query {{ hello }}", n),
    "nesting": nested,
    "depth": nested,
    "fields": lambda n: "{ box { " + "size " * (n - 1) + "} }",
    "root_fields": lambda n: (
        "{ ...A ...A } fragment A on Query { " + "hello " * (n // 2) + "} " if n % 2 == 0 else "{ " + "hello " * n + "}"
    ),
    "aliases": lambda n: "{ box { " + many("a{n}: size", n) + " } }",
    "directives": lambda n: "{ box { " + "size @skip(if: false) " * n + "} }",
    "directives_on_a_node": lambda n: "{ hello " + "@a " * n + "}",
    "schema_introspections": lambda n: "{ " + many("a{n}: __schema {{ __typename }}", n) + " }",
    "introspection_lists": lambda n: "{ __schema { types { " + "fields { type { " * n + "name" + " } }" * n + " } } }",
}


def test_every_limit_has_a_document_that_tries_it() -> None:
    assert AS_MUCH.keys() == {limit.name for limit in fields(Limits)}


@pytest.mark.parametrize("limit", AS_MUCH)
def test_each_limit_lets_its_own_measure_pass_and_refuses_one_more(limit: str) -> None:
    roomy = Limits(**{one.name: 100_000 for one in fields(Limits)})
    allowed = getattr(Limits(), limit)
    engine = Engine(schema, translate=translate, limits=replace(roomy, **{limit: allowed}))
    assert "LIMIT_EXCEEDED" not in codes(engine.plan(AS_MUCH[limit](allowed), introspection=True))
    refusal = engine.plan(AS_MUCH[limit](allowed + 1), introspection=True)
    assert isinstance(refusal, Refusal)
    extensions = refusal.errors[0]["extensions"]
    words = limit.replace("_", "").lower()
    assert (extensions["code"], extensions["limit"].lower()) == ("LIMIT_EXCEEDED", words)
    # The parser stops counting where it stops reading.
    expected = (None, None) if limit in ("tokens", "comments") else (allowed + 1, 1)
    assert (extensions["found"], extensions["over"]) == expected


def codes(plan: Plan | Refusal | Runnable) -> list[str]:
    return [error["extensions"]["code"] for error in plan.errors] if isinstance(plan, Refusal) else []


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("{ ...A } fragment A on Query { box { box { ...B } } } fragment B on Box " + nested(9), "depth"),
        ("{ hello } fragment Unused on Query { hello @a @a @a @a @a @a }", "directivesOnANode"),
        ("query ($a: Int @a @a @a @a @a @a) { hello }", "directivesOnANode"),
        (
            "{ __schema { types { ...T } } } fragment T on __Type { fields { type { ...U } } } "
            "fragment U on __Type { fields { type { interfaces { name } } } }",
            "introspectionLists",
        ),
    ],
)
def test_fragments_and_variables_hide_nothing(text: str, limit: str) -> None:
    assert limit_of(text) == limit


@pytest.mark.parametrize(
    "text",
    [
        "{ box { ...A } } fragment A on Box { " + "size " * 100 + "}",
        "{ ...A } fragment A on Query { ...A }",
        "{ ...Nowhere }",
        "{ fields { interfaces { fields { interfaces { name } } } } }",
        get_introspection_query(specified_by_url=True, schema_description=True, input_value_deprecation=True),
    ],
)
def test_what_stays_within_the_limits_passes(text: str) -> None:
    assert limit_of(text) is None


def cycle(length: int) -> str:
    spreads = "".join(f"fragment F{n} on Query {{ hello ...F{(n + 1) % length} }} " for n in range(length))
    return "{ ...F0 } " + spreads


HOSTILE = {
    "a thousand aliases": "{ " + many("a{n}: hello", 1_000) + " }",
    "fifty deep": nested(50),
    "fragments in a circle": cycle(40),
    "fragments that double": "{ ...F0 } "
    + "".join(f"fragment F{n} on Query {{ ...F{n + 1} ...F{n + 1} }} " for n in range(49))
    + "fragment F49 on Query { hello }",
    "a megabyte of tokens": "{ " + "hello " * 170_000 + "}",
    "a megabyte of comments": "#\n" * 500_000 + "{ hello }",
    "a megabyte of braces": "{" * 1_000_000,
    "fragments that double and go round": "{ ...F0 } "
    + "".join(
        f"fragment F{n} on Query {{ a: box {{ size }} ...F{(n + 1) % 40} ...F{(n + 2) % 40} }} " for n in range(40)
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_documents_are_refused_for_no_more_work_than_their_bytes(
    monkeypatch: pytest.MonkeyPatch, engine: Engine, name: str
) -> None:
    rulers: list[Ruler] = []

    def noting(document: DocumentNode, limits: Limits) -> Ruler:
        rulers.append(Ruler(document, limits))
        return rulers[-1]

    monkeypatch.setattr("engine.limits.Ruler", noting)
    text = HOSTILE[name]
    assert isinstance(engine.plan(text), Refusal)
    assert sum(ruler.visited for ruler in rulers) <= min(len(text) // 2, Limits().tokens)


@pytest.mark.parametrize("name", HOSTILE)
async def test_hostile_documents_are_refused_over_http(client: httpx.AsyncClient, name: str) -> None:
    body = {"query": HOSTILE[name]}
    answer = await client.post("/graphql", json=body, headers={"accept": "application/graphql-response+json"})
    # What is longer than any body may be is not even read.
    assert (answer.status_code, "data" in answer.json()) == (413 if len(HOSTILE[name]) > 262_144 else 400, False)


def test_a_chain_of_fragments_too_deep_for_the_interpreter_is_refused() -> None:
    chain = "".join(f"fragment F{n} on Box {'{ box ' * 15}{{ ...F{n + 1} }}{'}' * 15} " for n in range(40))
    assert limit_of("{ box { ...F0 } } " + chain + "fragment F40 on Box { size }") == "nesting"


def test_the_introspection_of_every_tool_passes_where_it_is_open(engine: Engine) -> None:
    assert isinstance(engine.plan(get_introspection_query(), introspection=True), Plan)
