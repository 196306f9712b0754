"""Exactly one member: what has none or several of a `@oneOf` input is refused before anything runs."""

import pytest

from api.bootstrap import House
from engine.answer import Outcome
from engine.engine import Engine
from resolvers.errors import translate
from resolvers.schema import build_schema
from tests.graph.callers import Caller

BOTH = {"phone": "+5511987654321", "email": "ana@example.com"}
SEND = 'mutation %s { sendMessage(input: {to: %s, content: {text: "Oi"}, route: [{channel: SMS}]}) { isReplay } }'


@pytest.fixture
def stranger(house: House) -> Caller:
    return Caller(house, Engine(build_schema()._schema, translate=translate), None)


@pytest.mark.parametrize(
    ("variables", "to"),
    [
        ("", '{phone: "+5511987654321", email: "ana@example.com"}'),
        ("", '{phone: "+5511987654321", email: null}'),
        ("", "{phone: null}"),
        ("", "{}"),
        ("($phone: PhoneNumber!, $email: EmailAddress!)", "{phone: $phone, email: $email}"),
    ],
)
async def test_what_is_written_out_is_refused_by_validation(stranger: Caller, variables: str, to: str) -> None:
    answer = await stranger.answer(SEND % (variables, to), **BOTH)
    assert answer.outcome is Outcome.REFUSED
    assert {error["extensions"]["code"] for error in answer.errors} == {"VALIDATION"}


@pytest.mark.parametrize("to", [BOTH, {}, {"phone": None}, {**BOTH, "email": None}])
async def test_what_comes_in_a_variable_is_refused_as_one(stranger: Caller, to: dict[str, object]) -> None:
    answer = await stranger.answer(SEND % ("($to: RecipientInput!)", "$to"), to=to)
    assert answer.outcome is Outcome.REFUSED
    assert {error["extensions"]["code"] for error in answer.errors} == {"VARIABLES"}


async def test_the_schema_itself_says_so(stranger: Caller) -> None:
    plan = stranger.engine.plan('{ __type(name: "RecipientInput") { isOneOf } }', introspection=True)
    assert (await plan.execute(None, stranger.context(), "r1")).data == {"__type": {"isOneOf": True}}
