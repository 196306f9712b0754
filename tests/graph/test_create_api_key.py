"""createApiKey: a key shown once, with no scope its creator lacks; or every error in the input."""

from dataclasses import replace
from typing import Any

import pytest

from core.ports.identity import Reach, Scope
from tests.graph.callers import Caller, NewCaller
from tests.graph.factories import CREATE_API_KEY, api_key_input, create_api_key, with_api_key

SEND = """mutation ($input: SendMessageInput!) { sendMessage(input: $input) {
  message { id } errors { __typename ... on UserError { message path }
    ... on IntegrationUnavailableError { integration { kind } } } } }"""


def sms(phone: str) -> dict[str, Any]:
    return {"to": {"phone": phone}, "content": {"text": "Oi"}, "route": [{"channel": "SMS"}]}


async def rules(caller: Caller, **given: Any) -> list[tuple[str, str]]:
    """What is wrong with a key, by place and rule; then nothing was made."""
    payload = await create_api_key(caller, **given)
    assert (payload["apiKey"], payload["secret"]) == (None, None)
    return [(".".join(one["path"]), one["rule"]) for one in payload["errors"]]


async def test_a_key_is_made_and_shown_this_once(caller: Caller) -> None:
    payload = await create_api_key(caller, expiresIn="P90D")
    key, secret = payload["apiKey"], payload["secret"]
    assert payload["errors"] == []
    assert secret.startswith(key["prefix"])
    assert len(key["prefix"]) == len("ia_live_") + 12
    assert (key["name"], key["kind"], key["scopes"], key["createdBy"]) == ("Loja", "LIVE", ["MESSAGES_SEND"], "test")
    assert (key["lastUsedAt"], key["revokedAt"], key["allowedRecipients"]) == (None, None, [])
    assert key["expiresAt"] > key["createdAt"]
    listed = await caller.answer("{ apiKeys { nodes { id name prefix createdBy } } }")
    assert secret.encode() not in listed.body
    assert key["prefix"].encode() in listed.body


async def test_it_lets_its_server_do_what_its_scopes_say_and_nothing_else(caller: Caller) -> None:
    server = await with_api_key(caller, (await create_api_key(caller))["secret"])
    assert (await server.ask(SEND, input=sms("+5511987654321")))["sendMessage"]["errors"] == []
    assert await server.code("{ apiKeys { nodes { id } } }") == "FORBIDDEN"
    assert await server.code("{ messages { nodes { id } } }") == "FORBIDDEN"


async def test_an_allow_list_is_shown_masked_and_enforced(caller: Caller) -> None:
    people = [{"phone": "+55 11 98765-4321"}, {"email": "Ana@Example.com"}]
    payload = await create_api_key(caller, kind="ALLOW_LIST", allowedRecipients=people)
    assert payload["apiKey"]["allowedRecipients"] == ["+55 11 9••••-4321", "A••@example.com"]
    server = await with_api_key(caller, payload["secret"])
    assert (await server.ask(SEND, input=sms("+5511987654321")))["sendMessage"]["errors"] == []
    [error] = (await server.ask(SEND, input=sms("+5511987654322")))["sendMessage"]["errors"]
    assert (error["__typename"], error["path"]) == ("InvalidInputError", ["input", "to", "phone"])


async def test_a_test_key_sends_where_providers_are_simulated(caller: Caller) -> None:
    """Providers are simulated here: their addresses are on this machine."""
    server = await with_api_key(caller, (await create_api_key(caller, kind="TEST"))["secret"])
    assert (await server.ask(SEND, input=sms("+5511987654321")))["sendMessage"]["errors"] == []


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({"name": " "}, [("input.name", "REQUIRED")]),
        ({"name": "x" * 101}, [("input.name", "MALFORMED")]),
        ({"name": "a\nb"}, [("input.name", "MALFORMED")]),
        ({"scopes": []}, [("input.scopes", "REQUIRED")]),
        ({"expiresIn": "PT1S"}, [("input.expiresIn", "OUT_OF_RANGE")]),
        ({"allowedRecipients": [{"phone": "+5511987654321"}]}, [("input.allowedRecipients", "NOT_ALLOWED")]),
        ({"kind": "ALLOW_LIST"}, [("input.allowedRecipients", "REQUIRED")]),
        (
            {"kind": "ALLOW_LIST", "allowedRecipients": [{"email": "a@b.com"}] * 101},
            [("input.allowedRecipients", "TOO_LONG")],
        ),
        (
            {"kind": "ALLOW_LIST", "allowedRecipients": [{"phone": "+551187654321"}, {"email": "x"}]},
            [("input.allowedRecipients.0.phone", "MALFORMED"), ("input.allowedRecipients.1.email", "MALFORMED")],
        ),
        ({"name": "", "scopes": []}, [("input.name", "REQUIRED"), ("input.scopes", "REQUIRED")]),
    ],
)
async def test_what_is_wrong_is_said_with_its_place(
    caller: Caller, given: dict[str, Any], found: list[tuple[str, str]]
) -> None:
    assert await rules(caller, **given) == found


async def test_no_caller_can_grant_a_scope_they_lack(new_caller: NewCaller) -> None:
    clerk = await new_caller(frozenset({Scope.OPERATIONS_WRITE, Scope.MESSAGES_READ}))
    assert await rules(clerk, scopes=["MESSAGES_READ", "MESSAGES_SEND"]) == [("input.scopes", "NOT_ALLOWED")]
    assert (await create_api_key(clerk, scopes=["MESSAGES_READ"]))["errors"] == []


PEOPLE = Reach(recipients=frozenset({"+5511987654321"}))
ANA = {"kind": "ALLOW_LIST", "allowedRecipients": [{"phone": "+5511987654321"}]}
OTHERS = {"kind": "ALLOW_LIST", "allowedRecipients": [{"phone": "+5511987654321"}, {"email": "x@example.com"}]}


@pytest.mark.parametrize(
    ("reach", "given", "may"),
    [
        (Reach(simulated_only=True), {}, False),
        (Reach(simulated_only=True), ANA, False),
        (Reach(simulated_only=True), {"kind": "TEST"}, True),
        (PEOPLE, {}, False),
        (PEOPLE, OTHERS, False),
        (PEOPLE, ANA, True),
        (PEOPLE, {"kind": "TEST"}, True),
    ],
)
async def test_no_key_makes_one_that_reaches_further(
    caller: Caller, reach: Reach, given: dict[str, Any], may: bool
) -> None:
    assert caller.principal is not None
    server = replace(caller, principal=replace(caller.principal, reach=reach))
    if may:
        assert (await create_api_key(server, **given))["errors"] == []
    else:
        assert await rules(server, **given) == [("input.kind", "NOT_ALLOWED")]


async def test_no_key_makes_one_that_outlives_it(caller: Caller) -> None:
    maker = (await create_api_key(caller, scopes=["OPERATIONS_WRITE"], expiresIn="P1D"))["secret"]
    server = await with_api_key(caller, maker)
    for given in ({}, {"expiresIn": "P2D"}):
        assert await rules(server, scopes=["OPERATIONS_WRITE"], **given) == [("input.expiresIn", "OUT_OF_RANGE")]
    payload = await create_api_key(server, scopes=["OPERATIONS_WRITE"], expiresIn="PT1H")
    assert payload["apiKey"]["createdBy"] == server.principal.subject  # type: ignore[union-attr]
    assert payload["apiKey"]["createdBy"].startswith("key:")
    # What was refused was not made.
    assert len((await caller.ask("{ apiKeys { nodes { id } } }"))["apiKeys"]["nodes"]) == 2


async def test_without_the_scope_none_is_made(new_caller: NewCaller, anonymous: Caller) -> None:
    reader = await new_caller(frozenset(Scope) - {Scope.OPERATIONS_WRITE})
    assert await reader.code(CREATE_API_KEY, input=api_key_input()) == "FORBIDDEN"
    assert await anonymous.code(CREATE_API_KEY, input=api_key_input()) == "UNAUTHENTICATED"
