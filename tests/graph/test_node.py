"""node: any object by its id, and null for an id that is unknown, foreign or malformed."""

import pytest

from core.ports.identity import Scope
from resolvers.global_ids import to_global_id
from tests.graph.callers import Caller, NewCaller
from tests.graph.factories import RecordFactory, global_id, problem_id

NODE = """
query ($id: ID!) {
  node(id: $id) {
    __typename id
    ... on Message { status content { ... on TextContent { text } } to }
    ... on MessageAttempt { number outcome }
    ... on MessageEvent { source }
    ... on Integration { name }
    ... on WebhookDelivery { eventType }
    ... on DeadLetter { kind }
    ... on Problem { code }
  }
}
"""
STORY = "query ($id: ID!) { message(id: $id) { id attempts { id number } events { nodes { id status } } } }"


async def story(caller: Caller, factory: RecordFactory) -> dict[str, list[str]]:
    """The ids of a message with two attempts and of everything about it, by type."""
    message = await factory.message(caller, attempts=2)
    found = (await caller.ask(STORY, id=global_id(message)))["message"]
    return {
        "Message": [found["id"]],
        "MessageAttempt": [attempt["id"] for attempt in found["attempts"]],
        "MessageEvent": [event["id"] for event in found["events"]["nodes"]],
        "WebhookDelivery": [to_global_id("WebhookDelivery", (await factory.webhook(caller)).bytes)],
        "DeadLetter": [to_global_id("DeadLetter", (await factory.dead_letter(caller)).bytes)],
        "Problem": [problem_id(await factory.problem(caller))],
    }


async def test_every_object_is_found_by_its_id(caller: Caller, factory: RecordFactory) -> None:
    integrations = (await caller.ask("{ integrations { id } }"))["integrations"]
    every = await story(caller, factory) | {"Integration": [one["id"] for one in integrations]}
    for type_name, ids in every.items():
        assert ids
        for id in ids:
            found = (await caller.ask(NODE, id=id))["node"]
            assert (found["__typename"], found["id"]) == (type_name, id)


async def test_a_node_is_the_whole_object(caller: Caller, factory: RecordFactory) -> None:
    ids = await story(caller, factory)
    message = (await caller.ask(NODE, id=ids["Message"][0]))["node"]
    assert (message["status"], message["content"], message["to"]) == ("QUEUED", {"text": "Olá"}, "+5511987654321")
    second = (await caller.ask(NODE, id=ids["MessageAttempt"][1]))["node"]
    assert (second["number"], second["outcome"]) == (2, "ACCEPTED")


async def test_ids_of_all_objects_differ(caller: Caller, factory: RecordFactory) -> None:
    ids = [id for ids in (await story(caller, factory)).values() for id in ids]
    assert len(set(ids)) == len(ids) == 9


async def test_what_belongs_to_others_is_not_there(caller: Caller, stranger: Caller, factory: RecordFactory) -> None:
    for ids in (await story(caller, factory)).values():
        for id in ids:
            assert await stranger.ask(NODE, id=id) == {"node": None}


UNKNOWN_IDS = [
    "",
    "nonsense",
    "☃",
    "===",
    "A" * 10_000,
    to_global_id("Message", b"\x00" * 16),
    to_global_id("Message", b"short"),
    to_global_id("MessageAttempt", b"\xff" * 18),
    to_global_id("MessageAttempt", b"\x00" * 17),
    to_global_id("MessageEvent", b"\xff" * 24),
    to_global_id("MessageEvent", b"\x00" * 24),
    to_global_id("MessageCursor", b"\x00" * 16),
    to_global_id("Integration", b"stripe"),
    to_global_id("Integration", b"\xff\x00"),
    to_global_id("WebhookDelivery", b"\x00" * 16),
    to_global_id("WebhookDelivery", b"short"),
    to_global_id("DeadLetter", b"\x00" * 16),
    to_global_id("DeadLetter", b"short"),
    to_global_id("Problem", b"\x00" * 16),
    to_global_id("Tenant", b"\x00" * 16),
    to_global_id("", b""),
]


async def test_an_unknown_or_malformed_id_finds_nothing(subtests: pytest.Subtests, caller: Caller) -> None:
    for id in UNKNOWN_IDS:
        with subtests.test(repr(id)):
            assert await caller.ask(NODE, id=id) == {"node": None}


async def test_an_anonymous_caller_gets_no_node(anonymous: Caller) -> None:
    assert await anonymous.code("query ($id: ID!) { node(id: $id) { id } }", id="nonsense") == "UNAUTHENTICATED"


async def test_each_type_needs_its_scope(new_caller: NewCaller, factory: RecordFactory) -> None:
    powerless = await new_caller(frozenset({Scope.MESSAGES_SEND}))
    ids = {
        "Message": global_id(await factory.message(powerless)),
        "MessageAttempt": to_global_id("MessageAttempt", b"\x00" * 18),
        "MessageEvent": to_global_id("MessageEvent", b"\x00" * 24),
        "Integration": to_global_id("Integration", b"twilio"),
        "WebhookDelivery": to_global_id("WebhookDelivery", b"\x00" * 16),
        "DeadLetter": to_global_id("DeadLetter", b"\x00" * 16),
        "Problem": to_global_id("Problem", b"\x00" * 16),
    }
    for id in ids.values():
        assert await powerless.code("query ($id: ID!) { node(id: $id) { id } }", id=id) == "FORBIDDEN"
