"""sendMessage: an accepted message, or every error in the input, typed and with its path."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import pytest

from api.bootstrap import App
from core.ports.identity import Scope
from resolvers.global_ids import to_global_id
from tests.apps import SMTP, TWILIO, build_application
from tests.databases import Urls
from tests.graph.callers import Caller, NewCaller
from tests.graph.factories import EMAIL_MESSAGE, TEXT_MESSAGE, RecordFactory, global_id

SEND = """
mutation Send($input: SendMessageInput!) {
  sendMessage(input: $input) {
    isReplay
    message {
      id status direction channel to toMasked from route { channel } nextAttemptAt failure { reason } sentAt
      content { __typename ... on TextContent { text segments } ... on EmailContent { subject plainText html } }
      attempts { number }
      events { nodes { status source channel } }
    }
    errors {
      __typename
      ... on UserError { message path }
      ... on InvalidInputError { rule }
      ... on NotFoundError { id }
      ... on IdempotencyConflictError { firstUsedAt }
      ... on IntegrationUnavailableError { integration { id kind name configuration { state mode } } }
    }
  }
}
"""


async def send(caller: Caller, given: dict[str, Any]) -> dict[str, Any]:
    data = await caller.ask(SEND, input=given)
    found: dict[str, Any] = data["sendMessage"]
    return found


async def test_a_text_is_answered_for_before_it_is_sent(caller: Caller) -> None:
    payload = await send(caller, TEXT_MESSAGE)
    message = payload["message"]
    assert (payload["isReplay"], payload["errors"]) == (False, [])
    assert message.pop("id")
    assert message.pop("nextAttemptAt").endswith("Z")
    assert message == {
        "status": "QUEUED",
        "direction": "OUTBOUND",
        "channel": "SMS",
        "to": "+5511987654321",
        "toMasked": "+55 11 9••••-4321",
        "from": None,
        "route": [{"channel": "SMS"}],
        "failure": None,
        "sentAt": None,
        "content": {"__typename": "TextContent", "text": "Olá, Ana!", "segments": 1},
        "attempts": [],
        "events": {"nodes": [{"status": "QUEUED", "source": "API", "channel": "SMS"}]},
    }


async def test_an_e_mail_is_answered_for(caller: Caller) -> None:
    message = (await send(caller, EMAIL_MESSAGE))["message"]
    assert (message["channel"], message["to"], message["toMasked"]) == ("EMAIL", "Ana@example.com", "A••@example.com")
    content = {"__typename": "EmailContent", "subject": "Olá", "plainText": "Como vai?", "html": None}
    assert message["content"] == content


# What is wrong: the input's change, then for each error its path and rule, and words its message must have.
REFUSED: dict[str, tuple[dict[str, Any], list[tuple[str, str]], str]] = {
    "a Brazilian number without its 9": (
        TEXT_MESSAGE | {"to": {"phone": "+551187654321"}},
        [("input.to.phone", "MALFORMED")],
        "+5511987654321",
    ),
    "no number at all": (TEXT_MESSAGE | {"to": {"phone": ""}}, [("input.to.phone", "MALFORMED")], "country code"),
    "a number without its country": (
        TEXT_MESSAGE | {"to": {"phone": "98765-4321"}},
        [("input.to.phone", "MALFORMED")],
        "+55",
    ),
    "no address at all": (EMAIL_MESSAGE | {"to": {"email": ""}}, [("input.to.email", "MALFORMED")], "ana@example.com"),
    "an address with a line break": (
        EMAIL_MESSAGE | {"to": {"email": "ana@example.com\r\nBcc: evil@x.com"}},
        [("input.to.email", "MALFORMED")],
        "U+000D (CARRIAGE RETURN) at character 16",
    ),
    "two addresses": (
        EMAIL_MESSAGE | {"to": {"email": "a@b.co, evil@x.com"}},
        [("input.to.email", "MALFORMED")],
        "one e-mail address",
    ),
    "a subject with a line break": (
        EMAIL_MESSAGE | {"content": {"email": {"subject": "Hi\r\nBcc: evil@x.com", "plainText": "x"}}},
        [("input.content.email.subject", "MALFORMED")],
        "one line",
    ),
    "an e-mail without a body": (
        EMAIL_MESSAGE | {"content": {"email": {"subject": "Hi"}}},
        [("input.content.email", "REQUIRED")],
        "plainText",
    ),
    "an e-mail with empty bodies": (
        EMAIL_MESSAGE | {"content": {"email": {"subject": "Hi", "plainText": "", "html": " "}}},
        [("input.content.email", "REQUIRED")],
        "html",
    ),
    "an e-mail beyond its limit": (
        EMAIL_MESSAGE | {"content": {"email": {"subject": "Hi", "html": "x" * 200_001}}},
        [("input.content.email", "TOO_LONG")],
        "200000",
    ),
    "a text beyond its limit": (
        TEXT_MESSAGE | {"content": {"text": "x" * 1_601}},
        [("input.content.text", "TOO_LONG")],
        "1601 characters",
    ),
    "an empty text": (TEXT_MESSAGE | {"content": {"text": ""}}, [("input.content.text", "REQUIRED")], "empty"),
    "an empty route": (TEXT_MESSAGE | {"route": []}, [("input.route", "REQUIRED")], "at least one"),
    "a channel twice": (
        TEXT_MESSAGE | {"route": [{"channel": "SMS"}, {"channel": "SMS"}]},
        [("input.route.1.channel", "NOT_ALLOWED")],
        "twice",
    ),
    "a text by e-mail": (
        EMAIL_MESSAGE | {"content": {"text": "Hi"}},
        [("input.content.text", "NOT_ALLOWED")],
        "subject",
    ),
    "an e-mail to a telephone": (
        EMAIL_MESSAGE | {"to": {"phone": "+5511987654321"}},
        [("input.route.0.channel", "NOT_ALLOWED")],
        "e-mail address",
    ),
    "no WhatsApp user": (
        TEXT_MESSAGE | {"to": {"whatsappUserId": "Bia"}},
        [("input.to.whatsappUserId", "MALFORMED")],
        "BR.13491208655302741918",
    ),
    "a text to a WhatsApp user": (
        TEXT_MESSAGE | {"to": {"whatsappUserId": "BR.13491208655302741918"}},
        [("input.route.0.channel", "NOT_ALLOWED")],
        "telephone number",
    ),
    "an empty key": (TEXT_MESSAGE | {"idempotencyKey": ""}, [("input.idempotencyKey", "TOO_SHORT")], "empty"),
    "a key of 256 characters": (
        TEXT_MESSAGE | {"idempotencyKey": "k" * 256},
        [("input.idempotencyKey", "TOO_LONG")],
        "255",
    ),
    "everything at once": (
        {"to": {"phone": "1"}, "content": {"text": " "}, "route": [{"channel": "SMS"}, {"channel": "SMS"}]},
        [
            ("input.to.phone", "MALFORMED"),
            ("input.content.text", "REQUIRED"),
            ("input.route.1.channel", "NOT_ALLOWED"),
        ],
        "",
    ),
}


async def test_bad_input_is_a_typed_error_with_its_place(
    subtests: pytest.Subtests, caller: Caller, factory: RecordFactory
) -> None:
    for case in REFUSED:
        with subtests.test(case):
            given, expected, words = REFUSED[case]
            payload = await send(caller, given)
            errors = payload["errors"]
            assert [(error["__typename"], ".".join(error["path"]), error["rule"]) for error in errors] == [
                ("InvalidInputError", path, rule) for path, rule in expected
            ]
            assert words in errors[0]["message"]
            assert (payload["message"], payload["isReplay"]) == (None, False)
            assert await factory.count("messages", caller) == await factory.count("idempotency_keys", caller) == 0


@pytest.mark.parametrize(
    "change",
    [
        {"to": {"phone": "+5511987654321", "email": "ana@example.com"}},
        {"to": {}},
        {"to": {"phone": None}},
        {"content": {"text": "x", "email": {"subject": "x"}}},
        {"route": [{"channel": "PIGEON"}]},
        {"route": None},
        {"to": {"phone": 5511987654321}},
    ],
)
async def test_input_of_the_wrong_shape_never_begins(
    caller: Caller, factory: RecordFactory, change: dict[str, Any]
) -> None:
    assert await caller.code(SEND, input=TEXT_MESSAGE | change) == "VARIABLES"
    assert await factory.count("messages", caller) == 0


@pytest.fixture
async def without(graph_urls: Urls, caller: Caller) -> AsyncIterator[dict[str, Caller]]:
    """The same caller with applications that lack an integration."""
    houses = {
        "SMS": build_application(graph_urls, **dict.fromkeys(TWILIO, "")),
        "EMAIL": build_application(graph_urls, **dict.fromkeys(SMTP, "")),
    }
    yield {name: Caller(application, caller.engine, caller.principal) for name, application in houses.items()}
    for application in houses.values():
        await application.close()


UNCONFIGURED = {
    "SMS": (TEXT_MESSAGE, "TWILIO", ["TWILIO_ACCOUNT_SID", "TWILIO_AUTH_TOKEN"]),
    "EMAIL": (EMAIL_MESSAGE, "SMTP", ["SMTP_HOST", "SMTP_FROM"]),
}


@pytest.mark.parametrize("channel", UNCONFIGURED)
async def test_an_unconfigured_channel_names_its_settings(
    without: dict[str, Caller], factory: RecordFactory, caller: Caller, channel: str
) -> None:
    given, kind, settings = UNCONFIGURED[channel]
    payload = await send(without[channel], given | {"idempotencyKey": "order-1"})
    [error] = payload["errors"]
    assert payload["message"] is None
    assert (error["__typename"], error["path"]) == (
        "IntegrationUnavailableError",
        ["input", "route", "0", "channel"],
    )
    assert all(name in error["message"] for name in [*settings, "interalpha check"])
    assert error["integration"]["kind"] == kind
    assert error["integration"]["configuration"] == {"state": "INCOMPLETE", "mode": None}
    assert await factory.count("messages", caller) == await factory.count("idempotency_keys", caller) == 0


async def test_an_answer_leads_to_what_it_answers(caller: Caller, factory: RecordFactory) -> None:
    answered = global_id(await factory.message(caller, sender="+5511912345678"))
    message = (await send(caller, TEXT_MESSAGE | {"inReplyTo": answered}))["message"]
    query = "query ($id: ID!) { message(id: $id) { inReplyTo { id from content { ... on TextContent { text } } } } }"
    found = (await caller.ask(query, id=message["id"]))["message"]
    assert found["inReplyTo"] == {"id": answered, "from": "+5511912345678", "content": {"text": "Olá"}}
    assert (await caller.ask(query, id=answered))["message"] == {"inReplyTo": None}


@pytest.mark.parametrize("answered", ["no id at all", global_id(UUID(int=7)), to_global_id("Integration", b"smtp")])
async def test_an_answer_to_nothing_is_not_found(caller: Caller, factory: RecordFactory, answered: str) -> None:
    payload = await send(caller, TEXT_MESSAGE | {"inReplyTo": answered, "idempotencyKey": "order-1"})
    [error] = payload["errors"]
    assert (error["__typename"], error["path"], error["id"]) == ("NotFoundError", ["input", "inReplyTo"], answered)
    assert payload["message"] is None
    assert await factory.count("messages", caller) == await factory.count("idempotency_keys", caller) == 0


async def test_a_reply_to_a_message_of_another_tenant_is_not_found(
    caller: Caller, stranger: Caller, factory: RecordFactory
) -> None:
    theirs = global_id(await factory.message(stranger))
    [error] = (await send(caller, TEXT_MESSAGE | {"inReplyTo": theirs}))["errors"]
    assert (error["__typename"], error["id"]) == ("NotFoundError", theirs)


async def test_the_same_key_answers_with_the_first_message(caller: Caller, factory: RecordFactory) -> None:
    first = await send(caller, TEXT_MESSAGE | {"idempotencyKey": "order-1"})
    again = await send(caller, TEXT_MESSAGE | {"idempotencyKey": "order-1", "to": {"phone": "+5511987654321"}})
    assert (first["isReplay"], again["isReplay"], again["errors"]) == (False, True, [])
    assert again["message"] == first["message"]
    assert await factory.count("messages", caller) == 1


async def test_many_at_once_with_one_key_make_one_message(caller: Caller, factory: RecordFactory) -> None:
    payloads = await asyncio.gather(*(send(caller, TEXT_MESSAGE | {"idempotencyKey": "order-1"}) for _ in range(10)))
    assert len({payload["message"]["id"] for payload in payloads}) == 1
    assert sorted(payload["isReplay"] for payload in payloads) == [False] + [True] * 9
    assert await factory.count("messages", caller) == 1


async def test_a_key_used_with_other_input_is_a_conflict(caller: Caller, factory: RecordFactory) -> None:
    await send(caller, TEXT_MESSAGE | {"idempotencyKey": "order-1"})
    payload = await send(caller, TEXT_MESSAGE | {"idempotencyKey": "order-1", "content": {"text": "Outra coisa"}})
    [error] = payload["errors"]
    assert (error["__typename"], error["path"]) == ("IdempotencyConflictError", ["input", "idempotencyKey"])
    assert "new key" in error["message"]
    assert error["firstUsedAt"].endswith("Z")
    assert payload["message"] is None
    assert await factory.count("messages", caller) == 1


async def test_a_key_belongs_to_one_tenant(caller: Caller, stranger: Caller) -> None:
    ours, theirs = [await send(one, TEXT_MESSAGE | {"idempotencyKey": "order-1"}) for one in (caller, stranger)]
    assert theirs["isReplay"] is False
    assert ours["message"]["id"] != theirs["message"]["id"]


async def test_an_anonymous_caller_may_not_send(anonymous: Caller) -> None:
    assert await anonymous.code(SEND, input=TEXT_MESSAGE) == "UNAUTHENTICATED"


async def test_sending_needs_its_scope(new_caller: NewCaller, factory: RecordFactory) -> None:
    reader = await new_caller(frozenset(Scope) - {Scope.MESSAGES_SEND})
    assert await reader.code(SEND, input=TEXT_MESSAGE) == "FORBIDDEN"
    assert await factory.count("messages", reader) == 0


async def test_an_address_is_shown_in_full_only_to_those_who_may_see_it(new_caller: NewCaller) -> None:
    sender = await new_caller(frozenset({Scope.MESSAGES_SEND, Scope.MESSAGES_READ}))
    errors = (await sender.answer(SEND, input=TEXT_MESSAGE)).errors
    assert {error["extensions"]["code"] for error in errors} == {"FORBIDDEN"}
    assert {tuple(error["path"]) for error in errors} >= {("sendMessage", "message", "to")}
    masked = "mutation ($input: SendMessageInput!) { sendMessage(input: $input) { message { toMasked } } }"
    data = await sender.ask(masked, input=TEXT_MESSAGE)
    assert data["sendMessage"]["message"]["toMasked"] == "+55 11 9••••-4321"


async def test_what_cannot_be_stored_is_no_answer(graph_urls: Urls, caller: Caller) -> None:
    application: App = build_application(graph_urls, DATABASE_URL="postgresql://app@127.0.0.1:9/app")
    stranded = Caller(application, caller.engine, caller.principal)
    try:
        [error] = (await stranded.answer(SEND, input=TEXT_MESSAGE)).errors
    finally:
        await application.close()
    assert (error["extensions"]["code"], error["extensions"]["retryAfter"]) == ("TRY_AGAIN", 5)
