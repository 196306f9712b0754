"""nodes: many objects by their ids, in the given order, with one statement for each type."""

import pytest

from api.bootstrap import App
from core.ports.identity import Scope
from resolvers.global_ids import to_global_id
from tests.graph.callers import Caller, NewCaller, statements
from tests.graph.factories import RecordFactory, global_id

NODES = "query ($ids: [ID!]!) { nodes(ids: $ids) { __typename id ... on Message { status } } }"
STORY = "query ($id: ID!) { message(id: $id) { attempts { id } events { nodes { id } } } }"


async def some_of_each(caller: Caller, factory: RecordFactory, count: int) -> list[str]:
    """Ids of so many objects of every type that is kept in the database."""
    ids: list[str] = []
    for _ in range(count):
        message = await factory.message(caller, attempts=1)
        story = (await caller.ask(STORY, id=global_id(message)))["message"]
        ids += [global_id(message), story["attempts"][0]["id"], story["events"]["nodes"][0]["id"]]
        ids.append(to_global_id("Template", (await factory.template(caller)).bytes))
        ids.append(to_global_id("WebhookDelivery", (await factory.webhook(caller)).bytes))
        ids.append(to_global_id("DeadLetter", (await factory.dead_letter(caller)).bytes))
    return ids


async def test_objects_come_in_the_order_asked_with_null_where_there_is_none(
    caller: Caller, factory: RecordFactory
) -> None:
    ids = await some_of_each(caller, factory, 2)
    asked = [
        "nonsense",
        *ids[::-1],
        to_global_id("Message", b"\x00" * 16),
        ids[0],
        to_global_id("Integration", b"smtp"),
    ]
    found = (await caller.ask(NODES, ids=asked))["nodes"]
    assert [node and node["id"] for node in found] == [None, *ids[::-1], None, ids[0], asked[-1]]


async def test_one_statement_per_type_regardless_of_the_number_of_ids(
    caller: Caller, factory: RecordFactory, application: App
) -> None:
    counts = []
    for ids in (await some_of_each(caller, factory, 1), await some_of_each(caller, factory, 16)):
        with statements(application) as seen:
            found = (await caller.ask(NODES, ids=ids))["nodes"]
        assert None not in found
        counts.append(len(seen))
    assert counts == [6, 6]


async def test_what_belongs_to_others_is_null(caller: Caller, stranger: Caller, factory: RecordFactory) -> None:
    ids = await some_of_each(caller, factory, 1)
    own = global_id(await factory.message(stranger))
    found = (await stranger.ask(NODES, ids=[*ids, own]))["nodes"]
    assert [node and node["id"] for node in found] == [None] * len(ids) + [own]


async def test_a_hundred_ids_are_the_most(caller: Caller) -> None:
    assert len((await caller.ask(NODES, ids=["x"] * 100))["nodes"]) == 100
    assert await caller.code(NODES, ids=["x"] * 101) == "INVALID_INPUT"
    assert (await caller.ask(NODES, ids=[])) == {"nodes": []}


@pytest.mark.parametrize(
    "type_name", ["Message", "MessageBatch", "Template", "WebhookDelivery", "DeadLetter", "Problem"]
)
async def test_each_type_needs_its_scope(new_caller: NewCaller, type_name: str) -> None:
    powerless = await new_caller(frozenset({Scope.MESSAGES_SEND}))
    assert await powerless.code(NODES, ids=[to_global_id(type_name, b"\x00" * 16)]) == "FORBIDDEN"


async def test_an_anonymous_caller_gets_no_nodes(anonymous: Caller) -> None:
    assert await anonymous.code(NODES, ids=["nonsense"]) == "UNAUTHENTICATED"
