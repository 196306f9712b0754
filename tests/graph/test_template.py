"""template and node: one template with its variables, and null for other tenants."""

import json

import pytest

from core.ports.identity import Scope
from resolvers.global_ids import to_global_id
from tests.graph.callers import Caller, NewCaller
from tests.graph.factories import RecordFactory

SHOW = """
query ($id: ID!) { template(id: $id) {
  id name channel locale category approval subject body createdAt updatedAt
  variables { name isRequired example }
} }
"""
AGAIN = "query ($id: ID!) { node(id: $id) { id ... on Template { name } } }"
BUTTON = [{"index": 1, "kind": "URL", "text": "https://loja.example.com/{{1}}"}]


async def test_a_template_lists_every_variable(caller: Caller, factory: RecordFactory) -> None:
    mail = {
        "channel": "EMAIL",
        "subject": "Pedido {{order.number}}",
        "body": "Olá, {{name|cliente}}!",
        "html": "<p>{{name|cliente}}, {{footer}}</p>",
        "examples": json.dumps({"order.number": "1042"}),
    }
    id = to_global_id("Template", (await factory.template(caller, name="receipt", **mail)).bytes)
    found = (await caller.ask(SHOW, id=id))["template"]
    assert found.pop("createdAt").endswith("Z")
    assert found.pop("updatedAt").endswith("Z")
    assert found == {
        "id": id,
        "name": "receipt",
        "channel": "EMAIL",
        "locale": "pt-BR",
        "category": "TRANSACTIONAL",
        "approval": "NOT_NEEDED",
        "subject": "Pedido {{order.number}}",
        "body": "Olá, {{name|cliente}}!",
        "variables": [
            {"name": "order.number", "isRequired": True, "example": "1042"},
            {"name": "name", "isRequired": False, "example": "cliente"},
            {"name": "footer", "isRequired": True, "example": None},
        ],
    }


async def test_the_variables_of_a_provider_template_have_distinct_names(caller: Caller, factory: RecordFactory) -> None:
    theirs = {
        "channel": "WHATSAPP",
        "approval": "APPROVED",
        "integration": "whatsapp",
        "provider_id": "9001",
        "header": "Pedido {{1}}",
        "body": "Olá, {{1}}!",
        "buttons": json.dumps(BUTTON),
    }
    id = to_global_id("Template", (await factory.template(caller, **theirs)).bytes)
    found = (await caller.ask(SHOW, id=id))["template"]
    assert [one["name"] for one in found["variables"]] == ["header.1", "1", "button.1"]
    assert found["approval"] == "APPROVED"


async def test_a_template_can_be_fetched_again_by_its_id(caller: Caller, factory: RecordFactory) -> None:
    id = to_global_id("Template", (await factory.template(caller, name="again")).bytes)
    assert (await caller.ask(AGAIN, id=id))["node"] == {"id": id, "name": "again"}


@pytest.mark.parametrize("document", [SHOW, AGAIN])
async def test_the_templates_of_others_are_not_there(
    caller: Caller, stranger: Caller, factory: RecordFactory, document: str
) -> None:
    id = to_global_id("Template", (await factory.template(caller)).bytes)
    assert list((await caller.ask(document, id=id)).values()) != [None]
    assert list((await stranger.ask(document, id=id)).values()) == [None]


@pytest.mark.parametrize(
    "id", ["", "x", "é", to_global_id("Template", b"short"), to_global_id("Message", bytes(16)), "A" * 10_000]
)
async def test_an_unknown_id_finds_nothing(caller: Caller, id: str) -> None:
    assert await caller.ask(SHOW, id=id) == {"template": None}
    assert await caller.ask(AGAIN, id=id) == {"node": None}


async def test_reading_needs_its_scope(new_caller: NewCaller, anonymous: Caller) -> None:
    id = to_global_id("Template", bytes(16))
    sender = await new_caller(frozenset({Scope.MESSAGES_SEND}))
    for document in (SHOW, AGAIN):
        assert await sender.code(document, id=id) == "FORBIDDEN"
        assert await anonymous.code(document, id=id) == "UNAUTHENTICATED"
