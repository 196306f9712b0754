"""Every connection of the schema: cursors in both directions, no gaps, and a count only on request."""

from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from graphql import GraphQLObjectType, get_named_type, is_object_type

from api.bootstrap import App
from resolvers.schema import build_schema
from tests.graph.callers import Caller, statements
from tests.graph.factories import RecordFactory, create_api_key, global_id

SIZE = 7
CORE = build_schema()._schema


def connections() -> Iterator[tuple[str, str]]:
    """Every field that gives a connection, and the connection's type."""
    for type_ in CORE.type_map.values():
        if is_object_type(type_) and isinstance(type_, GraphQLObjectType):
            for name, field in type_.fields.items():
                if (named := get_named_type(field.type)).name.endswith("Connection"):
                    yield f"{type_}.{name}", named.name


async def _messages(caller: Caller, factory: RecordFactory) -> str:
    for _ in range(SIZE):
        await factory.message(caller)
    return "{}"


async def _templates(caller: Caller, factory: RecordFactory) -> str:
    for _ in range(SIZE):
        await factory.template(caller)
    return "{}"


async def _webhooks(caller: Caller, factory: RecordFactory) -> str:
    for _ in range(SIZE):
        await factory.webhook(caller)
    return "{}"


async def _dead_letters(caller: Caller, factory: RecordFactory) -> str:
    for _ in range(SIZE):
        await factory.dead_letter(caller)
    return "{}"


async def _problems(caller: Caller, factory: RecordFactory) -> str:
    for _ in range(SIZE):
        await factory.problem(caller)
    return "{}"


async def _api_keys(caller: Caller, factory: RecordFactory) -> str:
    for _ in range(SIZE):
        await create_api_key(caller)
    return "{}"


async def _events(caller: Caller, factory: RecordFactory) -> str:
    message = await factory.message(caller, attempts=SIZE - 1)
    return f'{{ inside: message(id: "{global_id(message)}") {{}} }}'


SEND = "mutation ($input: SendMessagesInput!) { sendMessages(input: $input) { batch { id } } }"


async def _batch(caller: Caller, factory: RecordFactory) -> str:
    one = {"to": {"phone": "+5511987654321"}, "content": {"text": "Oi"}, "route": [{"channel": "SMS"}]}
    given = {"messages": [one] * SIZE, "idempotencyKey": "batch"}
    batch = (await caller.ask(SEND, input=given))["sendMessages"]["batch"]["id"]
    return f'{{ inside: messageBatch(id: "{batch}") {{}} }}'


# How each is filled with seven items; gives the document around the field.
FILLED: dict[str, Callable[[Caller, RecordFactory], Awaitable[str]]] = {
    "Query.messages": _messages,
    "Query.templates": _templates,
    "Query.webhookDeliveries": _webhooks,
    "Query.deadLetters": _dead_letters,
    "Query.problems": _problems,
    "Query.apiKeys": _api_keys,
    # Each made key is an event, too.
    "Query.auditEvents": _api_keys,
    "Message.events": _events,
    "MessageBatch.messages": _batch,
}
PAGE = "{ edges { cursor node { id } } nodes { id } pageInfo { hasNextPage hasPreviousPage startCursor endCursor } }"


def test_every_connection_is_tried() -> None:
    assert FILLED.keys() == {place for place, _ in connections()}


async def page(caller: Caller, around: str, name: str, arguments: str) -> dict[str, Any]:
    document = around.replace("{}", f"{{ page: {name}({arguments}) {PAGE} }}")
    found = await caller.ask(document)
    connection: dict[str, Any] = found.get("inside", found)["page"]
    assert [edge["node"] for edge in connection["edges"]] == connection["nodes"]
    cursors = [edge["cursor"] for edge in connection["edges"]]
    info = connection["pageInfo"]
    assert (info["startCursor"], info["endCursor"]) == ((cursors[0], cursors[-1]) if cursors else (None, None))
    return connection


def ids(connection: dict[str, Any]) -> list[str]:
    return [node["id"] for node in connection["nodes"]]


@pytest.mark.parametrize("place", FILLED)
async def test_pages_lead_through_the_list_forwards_and_backwards(
    caller: Caller, factory: RecordFactory, place: str
) -> None:
    around, name = await FILLED[place](caller, factory), place.split(".")[1]
    whole = ids(await page(caller, around, name, "first: 100"))
    assert len(set(whole)) == len(whole) == SIZE
    seen: list[str] = []
    arguments, has_before = "first: 3", False
    while True:
        found = await page(caller, around, name, arguments)
        seen += ids(found)
        assert found["pageInfo"]["hasPreviousPage"] is has_before
        assert found["pageInfo"]["hasNextPage"] is (len(seen) < SIZE)
        if len(seen) >= SIZE:
            break
        arguments, has_before = f'first: 3, after: "{found["pageInfo"]["endCursor"]}"', True
    assert seen == whole
    seen, arguments = [], "last: 3"
    while len(seen) < SIZE:
        found = await page(caller, around, name, arguments)
        assert found["nodes"], "it ended too early"
        seen = ids(found) + seen
        assert found["pageInfo"]["hasPreviousPage"] is (len(seen) < SIZE)
        arguments = f'last: 3, before: "{found["pageInfo"]["startCursor"]}"'
    assert seen == whole


@pytest.mark.parametrize("place", FILLED)
async def test_what_is_no_page_is_refused_everywhere_alike(caller: Caller, factory: RecordFactory, place: str) -> None:
    around, name = await FILLED[place](caller, factory), place.split(".")[1]
    for arguments in ("first: 101", "first: -1", "last: 101", "first: 1, last: 1", 'after: "x"', 'before: "x"'):
        document = around.replace("{}", f"{{ page: {name}({arguments}) {PAGE} }}")
        assert await caller.code(document) == "INVALID_INPUT", arguments


@pytest.mark.parametrize("place", FILLED)
async def test_a_count_is_made_only_when_it_is_asked_for(
    caller: Caller, factory: RecordFactory, application: App, place: str
) -> None:
    around, name = await FILLED[place](caller, factory), place.split(".")[1]
    type_ = CORE.get_type(dict(connections())[place])
    assert isinstance(type_, GraphQLObjectType)
    with statements(application) as plain:
        await page(caller, around, name, "first: 2")
    assert not any("count(" in statement for statement in plain)
    if "totalCount" in type_.fields:
        with statements(application) as counted:
            found = await caller.ask(around.replace("{}", f"{{ page: {name} {{ totalCount }} }}"))
        assert found.get("inside", found)["page"] == {"totalCount": SIZE}
        assert sum("count(" in statement for statement in counted) == 1
