"""The cost of an operation is known before it runs, from the document and its variables."""

from typing import Any

import pytest

from engine.cost import DEFAULT_PAGE, LARGEST_PAGE
from engine.engine import Engine
from engine.plan import Refusal
from resolvers import pagination
from resolvers.errors import translate
from resolvers.schema import build_schema

NESTED = "query ($n: Int, $m: Int = 10) { messages(first: $n) { nodes { events(last: $m) { nodes { at } } } } }"


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine(build_schema()._schema, translate=translate)


def cost(engine: Engine, text: str, **variables: Any) -> int:
    plan = engine.plan(text, introspection=True)
    assert not isinstance(plan, Refusal), plan.errors
    return plan.cost(variables)


@pytest.mark.parametrize(
    ("text", "variables", "points"),
    [
        ("{ __typename }", {}, 0),
        ("{ __schema { types { name fields { name } } } }", {}, 1),
        ('{ message(id: "x") { status toMasked } }', {}, 1),
        # One for the field, one for each item; what every item holds already is free.
        ("{ messages(first: 10) { nodes { status } } }", {}, 11),
        ("{ messages { edges { cursor node { status } } } }", {}, 1 + DEFAULT_PAGE),
        ("{ messages(first: 10) { pageInfo { endCursor } } }", {}, 1),
        ("{ messages(first: 0) { nodes { status } } }", {}, 1),
        # A field with a resolver, for each item.
        ("{ messages(first: 10) { nodes { attempts { number } } } }", {}, 1 + 10 + 10),
        ("{ messages(first: 10) { totalCount nodes { status } } }", {}, 1 + 1 + 10),
        # Pages within pages multiply, from variables, defaults and fragments alike.
        (NESTED, {"n": 5, "m": 3}, 1 + 5 + 5 * (1 + 3)),
        (NESTED, {"n": 5}, 1 + 5 + 5 * (1 + 10)),
        (NESTED, {}, 1 + 25 + 25 * (1 + 10)),
        ("{ ...A } fragment A on Query { messages(first: 2) { ...B } } "
         "fragment B on MessageConnection { nodes { ...C } } "
         "fragment C on Message { events(first: 3) { nodes { at } } }",
         {}, 1 + 2 + 2 * (1 + 3)),
        # What no page may hold is the resolver's to refuse, and costs no more than the largest page.
        ("{ messages(first: 999999999) { nodes { status } } }", {}, 1 + LARGEST_PAGE),
        ("{ messages(first: -5) { nodes { status } } }", {}, 1),
        ("query ($n: Int) { messages(first: $n) { nodes { id } } }", {"n": "ten"}, 1 + DEFAULT_PAGE),
        # A list that is handed in.
        ("mutation ($i: SendMessagesInput!) { sendMessages(input: $i) { errors { __typename } } }",
         {"i": {"messages": [{}] * 500, "idempotencyKey": "k"}}, 501),
        ('mutation { discardDeadLetters(input: {ids: ["a", "b"]}) { errors { __typename } } }', {}, 3),
    ],
)  # fmt: skip
def test_points_are_counted(engine: Engine, text: str, variables: dict[str, Any], points: int) -> None:
    assert cost(engine, text, **variables) == points


def test_the_price_of_a_document_is_found_once_and_filled_for_each_request(engine: Engine) -> None:
    plan = engine.plan(NESTED)
    assert not isinstance(plan, Refusal)
    assert engine.plan(NESTED) is plan
    assert [plan.cost({"n": n, "m": 0}) for n in (1, 2, 0, 100)] == [3, 5, 1, 201]


def test_pages_are_as_large_here_as_where_they_are_read() -> None:
    assert (DEFAULT_PAGE, LARGEST_PAGE) == (pagination.DEFAULT_SIZE, pagination.MAX_SIZE)
