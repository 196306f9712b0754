"""A plan always answers, and shows no more than it should."""

from typing import Any

import orjson
import pytest
from graphql import OperationType
from structlog.testing import capture_logs

from engine.answer import Answer, Outcome
from engine.engine import Engine
from engine.plan import Plan
from tests.execution.sample import Context, Journal, schema, translate


async def run(engine: Engine, text: str, variables: dict[str, Any] | None = None, name: str | None = None) -> Answer:
    plan = engine.plan(text, name)
    return await plan.execute(variables, Context("ada", "r1", Journal()), "r1")


async def stream(engine: Engine, text: str, variables: dict[str, Any] | None = None) -> list[Answer]:
    plan = engine.plan(text)
    return [answer async for answer in plan.stream(variables, Context("ada", "r1", Journal()), "r1")]


def error_of(answer: Answer) -> dict[str, Any]:
    (error,) = answer.errors
    return dict(error)


async def test_an_answer_is_written_as_json(engine: Engine) -> None:
    answer = await run(engine, "query ($n: String!) { hello(name: $n) whoami }", {"n": "Ada 🏊"})
    assert answer.outcome is Outcome.EXECUTED
    assert orjson.loads(answer.body) == {"data": {"hello": "Hello, Ada 🏊!", "whoami": "ada"}}


@pytest.mark.parametrize(
    ("text", "variables", "code"),
    [
        ("{", None, "SYNTAX"),
        ("", None, "SYNTAX"),
        ("{ nothing }", None, "VALIDATION"),
        ("type A { a: Int }", None, "VALIDATION"),
        ("subscription { }", None, "VALIDATION"),
        ("query ($n: String!) { hello(name: $n) }", {"n": 1}, "VARIABLES"),
        ("query ($n: String!) { hello(name: $n) }", None, "VARIABLES"),
        ("subscription ($n: Int!) { count(to: $n) }", {"n": "x"}, "VARIABLES"),
    ],
)
async def test_what_cannot_be_run_is_refused_without_data(
    engine: Engine, text: str, variables: dict[str, Any] | None, code: str
) -> None:
    (answer,) = await stream(engine, text, variables)
    assert answer.outcome is Outcome.REFUSED
    assert error_of(answer)["extensions"] == {"code": code, "requestId": "r1"}
    assert "data" not in orjson.loads(answer.body)


async def test_the_operation_named_is_the_one_that_runs(engine: Engine) -> None:
    answer = await run(engine, "query A { hello } query B { whoami }", name="B")
    assert answer.data == {"whoami": "ada"}


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("query A { hello } query B { whoami }", None),
        ("query A { hello } query B { whoami }", "C"),
        ("{ hello }", "A"),
    ],
)
async def test_without_one_operation_to_choose_nothing_runs(engine: Engine, text: str, name: str | None) -> None:
    answer = await run(engine, text, name=name)
    assert answer.outcome is Outcome.MALFORMED
    assert error_of(answer)["extensions"] == {"code": "OPERATION", "requestId": "r1"}


def test_a_plan_knows_what_kind_of_operation_it_runs(engine: Engine) -> None:
    kinds = [engine.plan(text) for text in ("{ hello }", 'mutation { rename(name: "a") }', "subscription { watch }")]
    assert [plan.kind for plan in kinds if isinstance(plan, Plan)] == list(OperationType)


async def test_an_unforeseen_error_is_masked_and_logged(engine: Engine) -> None:
    with capture_logs() as logs:
        answer = await run(engine, "query Q { hello broken }")
    assert answer.data == {"hello": "Hello, you!", "broken": None}
    assert error_of(answer) == {
        "message": "An internal error occurred. Quote r1.",
        "locations": [{"line": 1, "column": 17}],
        "path": ["broken"],
        "extensions": {"code": "INTERNAL", "requestId": "r1"},
    }
    (entry,) = logs
    assert (entry["request_id"], entry["operation"], entry["path"]) == ("r1", "Q", ["broken"])
    assert str(entry["exc_info"]) == "password=hunter2"


async def test_a_domain_error_is_shown(engine: Engine) -> None:
    with capture_logs() as logs:
        error = error_of(await run(engine, "{ missing }"))
    assert error["message"] == "No such thing."
    assert error["extensions"] == {"code": "NOT_FOUND", "requestId": "r1"}
    assert logs == []


async def test_null_where_the_schema_promised_a_value_is_our_fault(engine: Engine) -> None:
    answer = await run(engine, "{ lying }")
    assert (answer.outcome, answer.data) == (Outcome.EXECUTED, None)
    assert error_of(answer)["extensions"]["code"] == "INTERNAL"


async def test_what_takes_too_long_is_given_up(engine: Engine) -> None:
    answer = await run(engine, "{ slow }")
    assert orjson.loads(answer.body)["data"] is None
    assert error_of(answer)["extensions"] == {"code": "TIMEOUT", "seconds": 0.5, "requestId": "r1"}


async def test_a_subscription_gives_an_answer_for_each_event(engine: Engine) -> None:
    answers = await stream(engine, "subscription { count(to: 3) }")
    assert [answer.data for answer in answers] == [{"count": 1}, {"count": 2}, {"count": 3}]


async def test_a_query_streams_one_answer(engine: Engine) -> None:
    assert [answer.data for answer in await stream(engine, "{ hello }")] == [{"hello": "Hello, you!"}]


async def test_a_subscription_that_breaks_ends_with_a_masked_error(engine: Engine) -> None:
    with capture_logs() as logs:
        first, last = await stream(engine, "subscription { breaking }")
    assert first.data == {"breaking": 1}
    assert error_of(last)["extensions"] == {"code": "INTERNAL", "requestId": "r1"}
    assert "hunter2" not in error_of(last)["message"]
    assert len(logs) == 1


async def test_a_subscription_without_a_reader_is_closed(engine: Engine) -> None:
    journal = Journal()
    answers = engine.plan("subscription { watch }").stream(None, Context(None, "r1", journal), "r1")
    assert (await anext(answers)).data == {"watch": 1}
    await answers.aclose()
    assert (journal.opened, journal.closed) == (1, 1)


@pytest.mark.parametrize(
    "text", ["{ __schema { types { name } } }", '{ __type(name: "Box") { fields { name } } }', "{ nothin }"]
)
async def test_an_anonymous_caller_learns_nothing_of_the_schema(engine: Engine, text: str) -> None:
    answer = await run(engine, text)
    assert answer.outcome is Outcome.REFUSED
    assert "Did you mean" not in error_of(answer)["message"]


async def test_an_anonymous_caller_may_ask_whether_a_type_exists(engine: Engine) -> None:
    answer = await run(engine, '{ __typename __type(name: "Box") { name kind } }')
    assert answer.data == {"__typename": "Query", "__type": {"name": "Box", "kind": "OBJECT"}}


def test_a_root_field_may_take_longer_than_others() -> None:
    engine = Engine(schema, translate=translate, time_limit=10, longer={"box": 30})
    times = {
        text: plan.time_limit
        for text in ("{ hello }", "{ box { size } }", "{ hello again: box { size } }", "{ box: hello }")
        if isinstance(plan := engine.plan(text), Plan)
    }
    assert list(times.values()) == [10, 30, 30, 10]
