"""A `@oneOf` input with no member or several is refused before anything runs."""

import pytest

from api.bootstrap import App
from engine.answer import Outcome
from engine.engine import Engine
from resolvers.errors import translate
from resolvers.schema import build_schema
from tests.graph.callers import Caller

BOTH = {"phone": "+5511987654321", "email": "ana@example.com"}
SEND = 'mutation %s { sendMessage(input: {to: %s, content: {text: "Oi"}, route: [{channel: SMS}]}) { isReplay } }'


@pytest.fixture
def stranger(application: App) -> Caller:
    return Caller(application, Engine(build_schema()._schema, translate=translate), None)


@pytest.mark.parametrize(
    ("variables", "to"),
    [
        ("", '{phone: "+5511987654321", email: "ana@example.com"}'),
        ("", '{phone: "+5511987654321", email: null}'),
        ("", "{phone: null}"),
        ("", "{}"),
        ("($phone: PhoneNumber!, $email: EmailAddress!)", "{phone: $phone, email: $email}"),
        ("($phone: PhoneNumber!, $email: EmailAddress)", "{phone: $phone, email: $email}"),
        ("($phone: PhoneNumber)", "{phone: $phone}"),
        ('($phone: PhoneNumber = "+5511987654321")', "{phone: $phone}"),
    ],
)
async def test_what_is_written_out_is_refused_by_validation(stranger: Caller, variables: str, to: str) -> None:
    answer = await stranger.answer(SEND % (variables, to), **BOTH)
    assert answer.outcome is Outcome.REFUSED
    assert {error["extensions"]["code"] for error in answer.errors} == {"VALIDATION"}


@pytest.mark.parametrize("given", [{}, {"phone": None}, {"phone": BOTH["phone"]}])
async def test_a_nullable_variable_is_no_member_regardless_of_its_value(
    stranger: Caller, given: dict[str, object]
) -> None:
    answer = await stranger.answer(SEND % ("($phone: PhoneNumber)", "{phone: $phone}"), **given)
    assert answer.outcome is Outcome.REFUSED
    [error] = answer.errors
    assert error["extensions"]["code"] == "VALIDATION"
    assert "must be non-nullable" in error["message"]


@pytest.mark.parametrize("given", [{}, {"phone": None}])
async def test_a_variable_that_must_be_given_is_missed_before_anything_runs(
    stranger: Caller, given: dict[str, object]
) -> None:
    answer = await stranger.answer(SEND % ("($phone: PhoneNumber!)", "{phone: $phone}"), **given)
    assert answer.outcome is Outcome.REFUSED
    assert {error["extensions"]["code"] for error in answer.errors} == {"VARIABLES"}


@pytest.mark.parametrize("to", [BOTH, {}, {"phone": None}, {**BOTH, "email": None}])
async def test_what_comes_in_a_variable_is_refused_as_one(stranger: Caller, to: dict[str, object]) -> None:
    answer = await stranger.answer(SEND % ("($to: RecipientInput!)", "$to"), to=to)
    assert answer.outcome is Outcome.REFUSED
    assert {error["extensions"]["code"] for error in answer.errors} == {"VARIABLES"}


async def test_fragments_hide_no_variable(caller: Caller) -> None:
    hidden = SEND.replace("%s {", "($phone: PhoneNumber) { ...Hidden } fragment Hidden on Mutation {", 1)
    assert await caller.code(hidden % "{phone: $phone}", phone=BOTH["phone"]) == "VALIDATION"


async def test_what_must_be_given_is_taken(caller: Caller) -> None:
    answer = await caller.ask(SEND % ("($phone: PhoneNumber!)", "{phone: $phone}"), phone=BOTH["phone"])
    assert answer == {"sendMessage": {"isReplay": False}}


async def test_the_schema_itself_says_so(stranger: Caller) -> None:
    plan = stranger.engine.plan('{ __type(name: "RecipientInput") { isOneOf } }', introspection=True)
    assert (await plan.execute(None, stranger.context(), "r1")).data == {"__type": {"isOneOf": True}}
