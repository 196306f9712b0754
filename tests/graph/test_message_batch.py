"""messageBatch: the state of messages that were sent together."""

from api.bootstrap import App
from core.ports.identity import Scope
from tests.delivery.round_trips import round_trips
from tests.graph.callers import Caller, NewCaller
from tests.graph.factories import EMAIL_MESSAGE, TEXT_MESSAGE, send_messages

BATCH = """
query ($id: ID!, $filter: MessageFilter) {
  messageBatch(id: $id) {
    name finishedAt counts { total queued scheduled sending unconfirmed sent delivered read failed canceled }
    messages(first: 2, filter: $filter) {
      totalCount nodes { id } pageInfo { hasNextPage endCursor }
    }
  }
}
"""


async def test_a_batch_is_read_with_its_messages_page_by_page(caller: Caller) -> None:
    payload = await send_messages(caller, TEXT_MESSAGE, TEXT_MESSAGE, EMAIL_MESSAGE)
    await send_messages(caller, TEXT_MESSAGE, key="another")
    given = payload["batch"]["id"]
    batch = (await caller.ask(BATCH, id=given))["messageBatch"]
    assert batch["messages"]["totalCount"] == batch["counts"]["total"] == batch["counts"]["queued"] == 3
    assert [one["id"] for one in batch["messages"]["nodes"]] == [
        one["message"]["id"] for one in payload["results"][:0:-1]
    ]
    assert batch["messages"]["pageInfo"]["hasNextPage"]
    only = (await caller.ask(BATCH, id=given, filter={"channels": ["EMAIL"]}))["messageBatch"]
    assert only["messages"]["totalCount"] == 1
    listed = "query ($id: ID!) { messages(filter: {batchId: $id}) { totalCount } }"
    assert (await caller.ask(listed, id=given))["messages"]["totalCount"] == 3
    assert (await caller.ask(listed, id="nothing"))["messages"]["totalCount"] == 0


async def test_a_batch_is_a_node_and_its_tenant_s_alone(caller: Caller, stranger: Caller) -> None:
    given = (await send_messages(caller, TEXT_MESSAGE))["batch"]["id"]
    node = "query ($id: ID!) { node(id: $id) { id ... on MessageBatch { counts { total } } } }"
    assert (await caller.ask(node, id=given))["node"] == {"id": given, "counts": {"total": 1}}
    assert (await stranger.ask(node, id=given))["node"] is None
    assert (await stranger.ask(BATCH, id=given))["messageBatch"] is None
    assert (await caller.ask(BATCH, id="nothing"))["messageBatch"] is None


async def test_a_batch_in_which_nothing_was_right_is_over_at_once(caller: Caller) -> None:
    batch = (await send_messages(caller, TEXT_MESSAGE | {"to": {"phone": "1"}}))["batch"]
    assert batch["finishedAt"] == batch["createdAt"]
    assert batch["counts"]["total"] == 0


async def test_batches_of_a_page_cost_as_many_statements_for_one_as_for_many(caller: Caller, application: App) -> None:
    document = "{ messages { nodes { batch { name counts { total } finishedAt } } } }"
    counts = []
    for number in range(2):
        await send_messages(caller, *[TEXT_MESSAGE] * 5, key=f"batch-{number}")
        async with round_trips(application.database) as seen:
            await caller.ask(document)
        counts.append(len(seen))
    assert counts == [9, 9]


async def test_reading_a_batch_needs_the_scope(caller: Caller, new_caller: NewCaller, anonymous: Caller) -> None:
    given = (await send_messages(caller, TEXT_MESSAGE))["batch"]["id"]
    sender = await new_caller(frozenset(Scope) - {Scope.MESSAGES_READ})
    assert await sender.code(BATCH, id=given) == "FORBIDDEN"
    assert await anonymous.code(BATCH, id=given) == "UNAUTHENTICATED"
