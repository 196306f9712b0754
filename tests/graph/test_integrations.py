"""integrations: the providers of this server and how each is configured, without secrets."""

import json
from collections.abc import AsyncIterator

import pytest

from core.ports.identity import Scope
from tests.apps import SMTP, TWILIO, build_application
from tests.databases import Urls
from tests.graph.callers import Caller, NewCaller

INTEGRATIONS = """
query ($kinds: [IntegrationKind!]) {
  integrations(kinds: $kinds) { kind name configuration { state mode webhookUrl problems { setting message } } }
}
"""


async def test_every_integration_says_how_it_is_configured(caller: Caller) -> None:
    found = (await caller.ask(INTEGRATIONS))["integrations"]
    assert found == [
        {
            "kind": "CLERK",
            "name": "Clerk",
            "configuration": {"state": "INCOMPLETE", "mode": None, "webhookUrl": None, "problems": []},
        },
        {
            "kind": "SMTP",
            "name": "E-mail (SMTP)",
            "configuration": {"state": "COMPLETE", "mode": "SIMULATED", "webhookUrl": None, "problems": []},
        },
        {
            "kind": "TWILIO",
            "name": "Twilio SMS",
            "configuration": {
                "state": "COMPLETE",
                "mode": "SIMULATED",
                "webhookUrl": "https://api.example.com/webhooks/twilio",
                "problems": [],
            },
        },
        {
            "kind": "WHATSAPP",
            "name": "WhatsApp",
            "configuration": {"state": "INCOMPLETE", "mode": None, "webhookUrl": None, "problems": []},
        },
    ]


async def test_no_secret_is_ever_in_the_answer(caller: Caller) -> None:
    answer = json.dumps(await caller.ask(INTEGRATIONS))
    assert TWILIO["TWILIO_AUTH_TOKEN"] not in answer
    assert TWILIO["TWILIO_ACCOUNT_SID"] not in answer


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [
        (["TWILIO"], ["TWILIO"]),
        (["TWILIO", "SMTP", "TWILIO"], ["SMTP", "TWILIO"]),
        (None, ["CLERK", "SMTP", "TWILIO", "WHATSAPP"]),
        ([], []),
    ],
)
async def test_some_can_be_asked_for(caller: Caller, kinds: list[str] | None, expected: list[str]) -> None:
    found = (await caller.ask(INTEGRATIONS, kinds=kinds))["integrations"]
    assert [one["kind"] for one in found] == expected


async def test_a_kind_without_an_integration_is_no_kind(caller: Caller) -> None:
    assert await caller.code(INTEGRATIONS, kinds=["STRIPE"]) == "VARIABLES"


@pytest.fixture
async def bare(graph_urls: Urls, caller: Caller) -> AsyncIterator[Caller]:
    """The same caller with an application without any integration configured."""
    application = build_application(graph_urls, **dict.fromkeys(TWILIO | SMTP, ""))
    yield Caller(application, caller.engine, caller.principal)
    await application.close()


async def test_an_integration_that_is_not_configured_is_listed_all_the_same(bare: Caller) -> None:
    found = (await bare.ask(INTEGRATIONS))["integrations"]
    assert [one["kind"] for one in found] == ["CLERK", "SMTP", "TWILIO", "WHATSAPP"]
    for one in found:
        assert one["configuration"]["state"] == "INCOMPLETE"
        assert one["configuration"]["mode"] is one["configuration"]["webhookUrl"] is None


async def test_integrations_need_their_scope(new_caller: NewCaller, anonymous: Caller) -> None:
    reader = await new_caller(frozenset(Scope) - {Scope.OPERATIONS_READ})
    assert await reader.code(INTEGRATIONS) == "FORBIDDEN"
    assert await anonymous.code(INTEGRATIONS) == "UNAUTHENTICATED"
