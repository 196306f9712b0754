"""apiKeys: a tenant's keys by page, and each by its id; never a secret."""

from core.ports.identity import Scope
from tests.graph.callers import Caller, NewCaller
from tests.graph.factories import create_api_key, with_api_key

LIST = """query ($first: Int, $after: String, $last: Int, $before: String) {
  apiKeys(first: $first, after: $after, last: $last, before: $before) {
    edges { cursor node { name } } nodes { name } pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
  }
}"""
NODE = "query ($id: ID!) { node(id: $id) { id ... on ApiKey { name prefix } } }"


async def test_they_are_read_by_page_newest_first_and_back(caller: Caller) -> None:
    for number in range(5):
        await create_api_key(caller, name=f"key {number}")
    first = (await caller.ask(LIST, first=2))["apiKeys"]
    assert [one["name"] for one in first["nodes"]] == ["key 4", "key 3"]
    assert first["pageInfo"]["hasNextPage"]
    second = (await caller.ask(LIST, first=9, after=first["pageInfo"]["endCursor"]))["apiKeys"]
    assert [one["node"]["name"] for one in second["edges"]] == ["key 2", "key 1", "key 0"]
    assert not second["pageInfo"]["hasNextPage"]
    back = (await caller.ask(LIST, last=1, before=second["pageInfo"]["startCursor"]))["apiKeys"]
    assert [one["name"] for one in back["nodes"]] == ["key 3"]


async def test_others_keys_are_not_there(caller: Caller, stranger: Caller) -> None:
    id = (await create_api_key(caller))["apiKey"]["id"]
    assert (await stranger.ask(LIST))["apiKeys"]["nodes"] == []
    assert await stranger.ask(NODE, id=id) == {"node": None}
    assert (await caller.ask(NODE, id=id))["node"]["name"] == "Loja"


async def test_a_key_is_found_by_its_id_with_the_scope_and_by_itself(caller: Caller, new_caller: NewCaller) -> None:
    made, other = await create_api_key(caller), await create_api_key(caller)
    server = await with_api_key(caller, made["secret"])
    assert (await server.ask(NODE, id=made["apiKey"]["id"]))["node"]["prefix"] == made["apiKey"]["prefix"]
    assert await server.code(NODE, id=other["apiKey"]["id"]) == "FORBIDDEN"
    reader = await new_caller(frozenset(Scope) - {Scope.OPERATIONS_READ})
    assert await reader.code(LIST) == "FORBIDDEN"


async def test_its_last_use_is_shown(caller: Caller) -> None:
    made = await create_api_key(caller)
    server = await with_api_key(caller, made["secret"])
    await caller.application.services.key_ring.close()
    viewer = (await server.ask("{ viewer { apiKey { lastUsedAt } } }"))["viewer"]
    assert viewer["apiKey"]["lastUsedAt"] >= made["apiKey"]["createdAt"]


async def test_a_key_can_query_its_own_identity_and_scopes(caller: Caller) -> None:
    made = await create_api_key(caller, expiresIn="PT1H")
    server = await with_api_key(caller, made["secret"])
    asked = "{ viewer { user { id } apiKey { id prefix } organization { name } scopes expiresAt } }"
    viewer = (await server.ask(asked))["viewer"]
    expires_at = viewer.pop("expiresAt")
    assert viewer == {
        "user": None,
        "apiKey": {"id": made["apiKey"]["id"], "prefix": made["apiKey"]["prefix"]},
        "organization": {"name": "Another"},
        "scopes": ["MESSAGES_SEND"],
    }
    assert expires_at == made["apiKey"]["expiresAt"]
    assert (await caller.ask("{ viewer { apiKey { id } } }"))["viewer"]["apiKey"] is None
