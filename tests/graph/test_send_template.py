"""sendMessage with a template: what is sent, what the message shows of it, and every refusal."""

import json
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import pytest

from core.ids import uuid7
from resolvers.global_ids import to_global_id
from tests.apps import WHATSAPP, build_application
from tests.databases import Urls
from tests.graph.callers import Caller
from tests.graph.factories import RecordFactory

SEND = """
mutation Send($input: SendMessageInput!) {
  sendMessage(input: $input) {
    isReplay
    message {
      id channel
      template { id name }
      content { __typename ... on TemplateContent { template { id } variables { key value } rendered } }
    }
    errors {
      __typename
      ... on UserError { message path }
      ... on InvalidInputError { rule }
      ... on NotFoundError { id }
      ... on TemplateNotUsableError { missingVariables template { name approval } }
    }
  }
}
"""
PHONE = {"phone": "+5511987654321"}
SMS, OVER_WHATSAPP, BY_EMAIL = {"channel": "SMS"}, {"channel": "WHATSAPP"}, {"channel": "EMAIL"}
THEIRS: dict[str, Any] = {
    "channel": "WHATSAPP",
    "name": "order_shipped",
    "approval": "APPROVED",
    "integration": "whatsapp",
    "provider_id": "9001",
    "header": "Pedido {{order}}",
    "body": "{{name}}, chega {{day}}.",
    "buttons": json.dumps([{"index": 0, "kind": "URL", "text": "https://loja.example.com/{{1}}"}]),
}
FULL = {"order": "1042", "name": "Ana", "day": "amanhã", "button.0": "1042"}
MAIL: dict[str, Any] = {
    "channel": "EMAIL",
    "subject": "Pago: {{amount}}",
    "body": "{{amount}}",
    "html": "<b>{{amount}}</b>",
}


@pytest.fixture
async def caller_with_whatsapp(graph_urls: Urls, caller: Caller) -> AsyncIterator[Caller]:
    """The caller with an application that has WhatsApp too."""
    application = build_application(graph_urls, **WHATSAPP)
    yield Caller(application, caller.engine, caller.principal)
    await application.close()


def message(id: UUID | str, values: dict[str, str], *route: dict[str, str], **more: Any) -> dict[str, Any]:
    variables = [{"key": key, "value": value} for key, value in values.items()]
    template = {"templateId": id if isinstance(id, str) else global_id(id), "variables": variables}
    return {"to": PHONE, "content": {"template": template}, "route": list(route), **more}


def global_id(id: UUID) -> str:
    return str(to_global_id("Template", id.bytes))


async def send(caller: Caller, given: dict[str, Any]) -> dict[str, Any]:
    return dict((await caller.ask(SEND, input=given))["sendMessage"])


async def stored(caller: Caller, factory: RecordFactory) -> dict[str, Any]:
    """What the tenant's one message would send."""
    row = await factory.owner.fetchrow(
        "SELECT id, content_sealed, template_id FROM messages WHERE tenant_id = $1", caller.tenant
    )
    opened = factory.sealer.open(row["content_sealed"], tenant=caller.tenant, row=row["id"], column="content")
    return {"id": row["template_id"], **json.loads(opened)}


async def test_one_of_ours_is_filled_when_it_is_accepted(caller_with_whatsapp: Caller, factory: RecordFactory) -> None:
    id = await factory.template(caller_with_whatsapp, name="order_shipped")
    payload = await send(caller_with_whatsapp, message(id, {"day": "amanhã"}, SMS))
    assert payload["errors"] == []
    assert payload["message"]["template"] == {"id": global_id(id), "name": "order_shipped"}
    assert payload["message"]["content"] == {
        "__typename": "TemplateContent",
        "template": {"id": global_id(id)},
        "variables": [{"key": "day", "value": "amanhã"}],
        "rendered": "Olá, cliente! Chega amanhã.",
    }
    kept = await stored(caller_with_whatsapp, factory)
    assert (kept["id"], kept["text"]) == (id, "Olá, cliente! Chega amanhã.")


async def test_an_e_mail_gets_its_subject_and_both_bodies(caller_with_whatsapp: Caller, factory: RecordFactory) -> None:
    id = await factory.template(caller_with_whatsapp, **MAIL)
    given = message(id, {"amount": "R$ <1>"}, BY_EMAIL) | {"to": {"email": "ana@example.com"}}
    payload = await send(caller_with_whatsapp, given)
    assert payload["errors"] == []
    kept = await stored(caller_with_whatsapp, factory)
    assert (kept["subject"], kept["plainText"], kept["html"]) == ("Pago: R$ <1>", "R$ <1>", "<b>R$ &lt;1&gt;</b>")


async def test_a_provider_template_keeps_its_parameters(caller_with_whatsapp: Caller, factory: RecordFactory) -> None:
    id = await factory.template(caller_with_whatsapp, **THEIRS)
    payload = await send(caller_with_whatsapp, message(id, FULL, OVER_WHATSAPP, SMS))
    assert payload["errors"] == []
    assert payload["message"]["content"]["rendered"] == "Pedido 1042\nAna, chega amanhã."
    assert (await stored(caller_with_whatsapp, factory))["template"] == {
        "name": "order_shipped",
        "locale": "pt-BR",
        "header": [["order", "1042"]],
        "body": [["name", "Ana"], ["day", "amanhã"]],
        "buttons": [{"index": 0, "kind": "URL", "text": "1042"}],
        "rendered": "Pedido 1042\nAna, chega amanhã.",
    }


async def test_nothing_of_a_filled_template_is_stored_in_the_clear(
    caller_with_whatsapp: Caller, factory: RecordFactory
) -> None:
    await send(caller_with_whatsapp, message(await factory.template(caller_with_whatsapp), {"day": "segredo"}, SMS))
    dump = await factory.owner.fetchval("SELECT string_agg(messages::text, ' ') FROM messages")
    assert "segredo" not in dump
    assert b"segredo".hex() not in dump


async def test_a_plain_text_message_has_no_template(caller_with_whatsapp: Caller) -> None:
    payload = await send(caller_with_whatsapp, {"to": PHONE, "content": {"text": "Olá"}, "route": [SMS]})
    assert payload["message"]["template"] is None
    assert payload["message"]["content"] == {"__typename": "TextContent"}


# What is wrong: the template, the values, the route; then the error, what it says is missing, and words it must have.
NOT_USABLE: dict[str, tuple[dict[str, Any], dict[str, str], list[dict[str, str]], list[str], str]] = {
    "pending": (THEIRS | {"approval": "PENDING"}, FULL, [OVER_WHATSAPP], [], "not approved yet"),
    "rejected": (THEIRS | {"approval": "REJECTED"}, FULL, [OVER_WHATSAPP], [], "rejected"),
    "a variable missing": (
        THEIRS,
        {"name": "Ana", "day": "hoje"},
        [OVER_WHATSAPP],
        ["order", "button.0"],
        "order, button.0",
    ),
    "a variable blank": (THEIRS, FULL | {"day": "  "}, [OVER_WHATSAPP], ["day"], "day"),
    "over another channel": (THEIRS, FULL, [SMS], [], "for WHATSAPP"),
    "one of ours over another channel": ({}, {"day": "hoje"}, [OVER_WHATSAPP], [], "for SMS"),
}


@pytest.mark.parametrize("case", NOT_USABLE)
async def test_a_template_that_will_not_do_says_why(
    caller_with_whatsapp: Caller, factory: RecordFactory, case: str
) -> None:
    template, values, route, missing, words = NOT_USABLE[case]
    payload = await send(
        caller_with_whatsapp,
        message(await factory.template(caller_with_whatsapp, **template), values, *route, idempotencyKey="k"),
    )
    [error] = payload["errors"]
    assert (error["__typename"], error["path"]) == ("TemplateNotUsableError", ["input", "content", "template"])
    assert error["missingVariables"] == missing
    assert words in error["message"]
    assert error["template"]["approval"] == template.get("approval", "NOT_NEEDED")
    assert (
        await factory.count("messages", caller_with_whatsapp)
        == await factory.count("idempotency_keys", caller_with_whatsapp)
        == 0
    )


async def test_a_provider_template_has_no_subject_for_an_email(
    caller_with_whatsapp: Caller, factory: RecordFactory
) -> None:
    id = await factory.template(caller_with_whatsapp, **THEIRS)
    payload = await send(caller_with_whatsapp, message(id, FULL, OVER_WHATSAPP, BY_EMAIL))
    kinds = [(error["__typename"], ".".join(error["path"])) for error in payload["errors"]]
    assert kinds == [
        ("TemplateNotUsableError", "input.content.template"),
        ("InvalidInputError", "input.route.1.channel"),
    ]


NOWHERE = {
    "unknown": global_id(uuid7()),
    "of another type": str(to_global_id("Message", bytes(16))),
    "malformed": "x",
    "empty": "",
    "not even ASCII": "é" * 200,
}


@pytest.mark.parametrize("case", NOWHERE)
async def test_a_template_that_is_not_there_is_not_found(
    caller_with_whatsapp: Caller, factory: RecordFactory, case: str
) -> None:
    payload = await send(caller_with_whatsapp, message(NOWHERE[case], {}, SMS))
    [error] = payload["errors"]
    assert (error["__typename"], error["path"], error["id"]) == (
        "NotFoundError",
        ["input", "content", "template"],
        NOWHERE[case],
    )
    assert await factory.count("messages", caller_with_whatsapp) == 0


async def test_a_template_of_another_tenant_is_not_found(
    caller_with_whatsapp: Caller, stranger: Caller, factory: RecordFactory
) -> None:
    theirs = await factory.template(stranger)
    payload = await send(caller_with_whatsapp, message(theirs, {"day": "hoje"}, SMS))
    assert [error["__typename"] for error in payload["errors"]] == ["NotFoundError"]
    assert (await send(stranger, message(theirs, {"day": "hoje"}, SMS)))["errors"] == []


INVALID: dict[str, tuple[dict[str, Any], list[tuple[str, str]], str, str]] = {
    "a variable it does not have": ({}, [("dia", "hoje")], "variables.0.key", "NOT_ALLOWED"),
    "a variable twice": ({}, [("day", "1"), ("day", "2")], "variables.1.key", "NOT_ALLOWED"),
    "a value beyond all limits": ({}, [("day", "x" * 5_000)], "variables.0.value", "TOO_LONG"),
    "words too long for an SMS": ({}, [("day", "x" * 1_600)], "text", "TOO_LONG"),
    "NUL": ({}, [("day", "\x00")], "variables.0.value", "MALFORMED"),
    "a line break in a subject": (MAIL, [("amount", "1\nBcc: x")], "variables.0.value", "MALFORMED"),
    "a line break for a company": (
        THEIRS,
        [*[*FULL.items()][:3], ("button.0", "1\n2")],
        "variables.3.value",
        "MALFORMED",
    ),
}


@pytest.mark.parametrize("case", INVALID)
async def test_a_value_that_cannot_be_is_named_by_its_place(
    caller_with_whatsapp: Caller, factory: RecordFactory, case: str
) -> None:
    template, values, place, rule = INVALID[case]
    channel = {"channel": template.get("channel", "SMS")}
    given = message(await factory.template(caller_with_whatsapp, **template), {}, channel)
    given["content"]["template"]["variables"] = [{"key": key, "value": value} for key, value in values]
    if channel == BY_EMAIL:
        given["to"] = {"email": "ana@example.com"}
    [error] = (await send(caller_with_whatsapp, given))["errors"]
    start = "input.content." if place == "text" else "input.content.template."
    assert (error["__typename"], ".".join(error["path"]), error["rule"]) == ("InvalidInputError", start + place, rule)
    assert await factory.count("messages", caller_with_whatsapp) == 0


async def test_everything_wrong_is_said_at_once(caller_with_whatsapp: Caller, factory: RecordFactory) -> None:
    given = message("x", {}, SMS, SMS) | {"to": {"phone": "1"}}
    kinds = [error["__typename"] for error in (await send(caller_with_whatsapp, given))["errors"]]
    assert kinds == ["InvalidInputError", "NotFoundError", "InvalidInputError"]


async def test_a_repeated_request_returns_the_first_message_even_if_its_template_has_changed(
    caller_with_whatsapp: Caller, factory: RecordFactory
) -> None:
    id = await factory.template(caller_with_whatsapp)
    given = message(id, {"day": "hoje", "name": "Ana"}, SMS, idempotencyKey="k")
    first = await send(caller_with_whatsapp, given)
    # The order of the variables says nothing.
    given["content"]["template"]["variables"].reverse()
    for change in ("body = 'Outra coisa: {{day}} {{name}}'", "body = '{{new}}'", "approval = 'PENDING'"):
        await factory.owner.execute(f"UPDATE templates SET {change} WHERE id = $1", id)
        again = await send(caller_with_whatsapp, given)
        assert (again["isReplay"], again["errors"], again["message"]["id"]) == (True, [], first["message"]["id"]), (
            change
        )
        assert again["message"]["content"]["rendered"] == "Olá, Ana! Chega hoje."
    assert await factory.count("messages", caller_with_whatsapp) == 1
    new = await send(caller_with_whatsapp, given | {"idempotencyKey": "another"})
    assert [error["__typename"] for error in new["errors"]] == ["TemplateNotUsableError"]


@pytest.mark.parametrize("other", [{"day": "amanhã"}, {"day": "hoje", "name": "Ana"}])
async def test_a_key_used_with_other_variables_is_a_conflict(
    caller_with_whatsapp: Caller, factory: RecordFactory, other: dict[str, str]
) -> None:
    id = await factory.template(caller_with_whatsapp)
    await send(caller_with_whatsapp, message(id, {"day": "hoje"}, SMS, idempotencyKey="k"))
    payload = await send(caller_with_whatsapp, message(id, other, SMS, idempotencyKey="k"))
    assert [error["__typename"] for error in payload["errors"]] == ["IdempotencyConflictError"]


async def test_a_key_used_with_another_template_is_a_conflict(
    caller_with_whatsapp: Caller, factory: RecordFactory
) -> None:
    one, other = await factory.template(caller_with_whatsapp), await factory.template(caller_with_whatsapp)
    await send(caller_with_whatsapp, message(one, {"day": "hoje"}, SMS, idempotencyKey="k"))
    payload = await send(caller_with_whatsapp, message(other, {"day": "hoje"}, SMS, idempotencyKey="k"))
    assert [error["__typename"] for error in payload["errors"]] == ["IdempotencyConflictError"]
