"""revokeApiKey: a revoked key is rejected, at once where it is revoked."""

import pytest

from core.access.api_key_lookup import KeyRefused
from core.ports.identity import Scope
from resolvers.global_ids import to_global_id
from tests.graph.callers import Caller, NewCaller
from tests.graph.factories import create_api_key, with_api_key

REVOKE = """
mutation ($id: ID!) { revokeApiKey(input: {id: $id}) {
  apiKey { id revokedAt } errors { __typename ... on NotFoundError { message path id } }
} }
"""


async def test_a_revoked_key_is_rejected_from_the_next_request(caller: Caller) -> None:
    made = await create_api_key(caller)
    await with_api_key(caller, made["secret"])
    revoked = (await caller.ask(REVOKE, id=made["apiKey"]["id"]))["revokeApiKey"]
    assert (revoked["errors"], revoked["apiKey"]["id"]) == ([], made["apiKey"]["id"])
    with pytest.raises(KeyRefused, match="revoked"):
        await with_api_key(caller, made["secret"])


async def test_revoked_again_it_stays_as_it_was(caller: Caller) -> None:
    id = (await create_api_key(caller))["apiKey"]["id"]
    first, second = [(await caller.ask(REVOKE, id=id))["revokeApiKey"]["apiKey"]["revokedAt"] for _ in range(2)]
    assert (first is not None, first) == (True, second)


async def test_a_key_may_revoke_itself(caller: Caller) -> None:
    made = await create_api_key(caller, scopes=["OPERATIONS_WRITE"])
    server = await with_api_key(caller, made["secret"])
    assert (await server.ask(REVOKE, id=made["apiKey"]["id"]))["revokeApiKey"]["errors"] == []
    with pytest.raises(KeyRefused):
        await with_api_key(caller, made["secret"])


async def test_others_unknown_and_malformed_keys_are_answered_alike(caller: Caller, stranger: Caller) -> None:
    theirs = await create_api_key(stranger)
    for id in (theirs["apiKey"]["id"], to_global_id("ApiKey", bytes(16)), to_global_id("Message", bytes(16)), "x"):
        found = (await caller.ask(REVOKE, id=id))["revokeApiKey"]
        assert found["apiKey"] is None
        assert found["errors"] == [
            {
                "__typename": "NotFoundError",
                "message": "There is no such API key.",
                "path": ["input", "id"],
                "id": id,
            }
        ]
    await with_api_key(stranger, theirs["secret"])


async def test_without_the_scope_none_is_revoked(new_caller: NewCaller, caller: Caller) -> None:
    made = await create_api_key(caller)
    reader = await new_caller(frozenset(Scope) - {Scope.OPERATIONS_WRITE})
    assert await reader.code(REVOKE, id=made["apiKey"]["id"]) == "FORBIDDEN"
    await with_api_key(caller, made["secret"])
