"""message: everything about one message, for its own tenant only."""

import pytest

from core.messages.status import make_step
from core.messages.validation import Draft
from core.ports import Channel, EmailContent, TextContent
from core.ports.identity import Scope
from resolvers.global_ids import to_global_id
from tests.graph.callers import Caller, NewCaller
from tests.graph.factories import PHONE, RecordFactory, global_id

STATUS = "query ($id: ID!) { message(id: $id) { status } }"
EVENTS = """
query ($id: ID!, $first: Int, $after: String, $last: Int, $before: String) {
  message(id: $id) {
    events(first: $first, after: $after, last: $last, before: $before) {
      edges { cursor node { id status } }
      nodes { id }
      pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
    }
  }
}
"""


async def test_a_message_shows_its_whole_history(caller: Caller, factory: RecordFactory) -> None:
    message = await factory.message(caller, status="SENT", attempts=2)
    document = """
    query ($id: ID!) { message(id: $id) {
      id status to content { ... on TextContent { text segments } }
      attempts {
        number channel outcome providerMessageId startedAt durationMs integration { kind name }
        failure { reason party message providerCode isTransient }
      }
      events { nodes { status source channel detail } }
    } }
    """
    found = (await caller.ask(document, id=global_id(message)))["message"]
    refused, accepted = found.pop("attempts")
    assert found == {
        "id": global_id(message),
        "status": "SENT",
        "to": PHONE,
        "content": {"text": "Olá", "segments": 1},
        "events": {
            "nodes": [
                {"status": status, "source": "WORKER", "channel": "SMS", "detail": None}
                for status in ("QUEUED", "SENDING", "SENDING")
            ]
        },
    }
    assert refused == {
        "number": 1,
        "channel": "SMS",
        "outcome": "REJECTED",
        "providerMessageId": None,
        "startedAt": "2026-11-23T12:01:00.000Z",
        "durationMs": 250.0,
        "integration": {"kind": "TWILIO", "name": "Twilio SMS"},
        "failure": {
            "reason": "INVALID_RECIPIENT",
            "party": "RECIPIENT",
            "message": "No telephone has this number.",
            "providerCode": "21211",
            "isTransient": False,
        },
    }
    assert (accepted["outcome"], accepted["providerMessageId"], accepted["failure"]) == ("ACCEPTED", "SM2", None)


async def test_an_inbound_message_names_its_sender(caller: Caller, factory: RecordFactory) -> None:
    message = await factory.message(caller, sender="+5521999998888", status="DELIVERED")
    found = await caller.ask(
        "query ($id: ID!) { message(id: $id) { direction status from fromMasked to } }", id=global_id(message)
    )
    assert found["message"] == {
        "direction": "INBOUND",
        "status": "RECEIVED",
        "from": "+5521999998888",
        "fromMasked": "+55 21 9••••-8888",
        "to": PHONE,
    }


async def test_an_e_mail_has_no_segments_and_a_long_text_several(caller: Caller, factory: RecordFactory) -> None:
    document = "query ($id: ID!) { message(id: $id) { content { __typename ... on TextContent { segments } } } }"
    long = await factory.message(caller, content=TextContent("ã" * 71 + "😀"))
    mail = await factory.message(caller, content=EmailContent("Olá", html="<p>x</p>"))
    assert (await caller.ask(document, id=global_id(long)))["message"]["content"]["segments"] == 2
    assert (await caller.ask(document, id=global_id(mail)))["message"]["content"] == {"__typename": "EmailContent"}


@pytest.mark.parametrize("id", ["", "x", "TWVzc2FnZTo", "=", "é", to_global_id("Message", b"short"), "A" * 10_000])
async def test_an_unknown_id_finds_nothing(caller: Caller, id: str) -> None:
    assert await caller.ask(STATUS, id=id) == {"message": None}


async def test_an_id_of_another_type_finds_nothing(caller: Caller, factory: RecordFactory) -> None:
    message = await factory.message(caller)
    assert await caller.ask(STATUS, id=to_global_id("MessageCursor", message.bytes)) == {"message": None}


async def test_the_messages_of_others_are_not_there(caller: Caller, stranger: Caller, factory: RecordFactory) -> None:
    message = global_id(await factory.message(caller))
    assert await caller.ask(STATUS, id=message) == {"message": {"status": "QUEUED"}}
    assert await stranger.ask(STATUS, id=message) == {"message": None}


async def test_reading_needs_its_scope(new_caller: NewCaller, anonymous: Caller) -> None:
    sender = await new_caller(frozenset({Scope.MESSAGES_SEND}))
    assert await sender.code(STATUS, id="x") == "FORBIDDEN"
    assert await anonymous.code(STATUS, id="x") == "UNAUTHENTICATED"


@pytest.mark.parametrize("field", ["to", "from"])
async def test_full_addresses_need_their_scope(new_caller: NewCaller, factory: RecordFactory, field: str) -> None:
    reader = await new_caller(frozenset({Scope.MESSAGES_READ}))
    message = await factory.message(reader)
    assert await reader.code(f"query ($id: ID!) {{ message(id: $id) {{ {field} }} }}", id=global_id(message)) == (
        "FORBIDDEN"
    )


async def test_events_can_be_read_page_by_page_from_either_end(caller: Caller, factory: RecordFactory) -> None:
    message = global_id(await factory.message(caller, attempts=4))
    whole = (await caller.ask(EVENTS, id=message))["message"]["events"]
    cursors = [edge["cursor"] for edge in whole["edges"]]
    assert len(cursors) == len(whole["nodes"]) == 5
    assert whole["pageInfo"] == {
        "hasNextPage": False,
        "hasPreviousPage": False,
        "startCursor": cursors[0],
        "endCursor": cursors[-1],
    }
    pages = {
        "the first two": ({"first": 2}, cursors[:2], (True, False)),
        "the two after": ({"first": 2, "after": cursors[1]}, cursors[2:4], (True, True)),
        "the rest": ({"first": 2, "after": cursors[3]}, cursors[4:], (False, True)),
        "the last two": ({"last": 2}, cursors[3:], (False, True)),
        "the two before": ({"last": 2, "before": cursors[2]}, cursors[:2], (True, False)),
        "none": ({"first": 0}, [], (True, False)),
    }
    for name, (given, expected, (has_next, has_previous)) in pages.items():
        page = (await caller.ask(EVENTS, id=message, **given))["message"]["events"]
        assert [edge["cursor"] for edge in page["edges"]] == expected, name
        info = page["pageInfo"]
        assert (info["hasNextPage"], info["hasPreviousPage"]) == (has_next, has_previous), name


@pytest.mark.parametrize(
    "given", [{"first": -1}, {"first": 101}, {"first": 1, "last": 1}, {"after": ""}, {"after": "x"}]
)
async def test_a_page_of_events_that_cannot_be_is_refused(
    caller: Caller, factory: RecordFactory, given: dict[str, object]
) -> None:
    message = global_id(await factory.message(caller))
    assert await caller.code(EVENTS, id=message, **given) == "INVALID_INPUT"


async def test_a_message_accepted_through_core_is_read_the_same(caller: Caller) -> None:
    draft = Draft(EmailContent("Oi", "texto", "<p>texto</p>"), [make_step(Channel.EMAIL)], email="ana@example.com")
    accepted = await caller.application.services.outbox.accept(caller.tenant, draft)
    document = "query ($id: ID!) { message(id: $id) { content { ... on EmailContent { subject plainText html } } } }"
    found = await caller.ask(document, id=global_id(accepted.message_id))
    assert found["message"]["content"] == {"subject": "Oi", "plainText": "texto", "html": "<p>texto</p>"}
