"""discardDeadLetters: discards the letters and does not change what failed."""

import pytest

from core.ports.identity import Scope
from tests.graph.callers import Caller, NewCaller
from tests.graph.factories import RecordFactory, dead_letter_id

DISCARD = """
mutation ($ids: [ID!]!) {
  discardDeadLetters(input: {ids: $ids}) {
    deadLetters { id resolution }
    errors { __typename ... on UserError { path } ... on NotFoundError { id } ... on InvalidStateError { state } }
  }
}
"""


async def test_it_is_closed_and_its_message_stays_failed(caller: Caller, factory: RecordFactory) -> None:
    message = await factory.message(caller, status="FAILED")
    letter = dead_letter_id(await factory.dead_letter(caller, message=message))
    done = (await caller.ask(DISCARD, ids=[letter]))["discardDeadLetters"]
    assert done == {"deadLetters": [{"id": letter, "resolution": "DISCARDED"}], "errors": []}
    assert await factory.owner.fetchval("SELECT status FROM messages WHERE id = $1", message) == "FAILED"


async def test_good_ones_are_done_beside_bad_ones(caller: Caller, stranger: Caller, factory: RecordFactory) -> None:
    good, closed = (
        dead_letter_id(await factory.dead_letter(caller)),
        dead_letter_id(await factory.dead_letter(caller, resolution="REQUEUED")),
    )
    foreign = dead_letter_id(await factory.dead_letter(stranger))
    done = (await caller.ask(DISCARD, ids=[foreign, good, closed]))["discardDeadLetters"]
    assert [one["id"] for one in done["deadLetters"]] == [good]
    assert done["errors"] == [
        {"__typename": "NotFoundError", "path": ["input", "ids", "0"], "id": foreign},
        {"__typename": "InvalidStateError", "path": ["input", "ids", "2"], "state": "REQUEUED"},
    ]
    still = "SELECT count(*) FROM dead_letters WHERE tenant_id = $1 AND resolution IS NULL"
    assert await factory.owner.fetchval(still, stranger.tenant) == 1


@pytest.mark.parametrize("count", [0, 101])
async def test_none_and_too_many_are_refused(caller: Caller, count: int) -> None:
    assert await caller.code(DISCARD, ids=["x"] * count) == "INVALID_INPUT"


async def test_it_needs_its_scope(new_caller: NewCaller, anonymous: Caller) -> None:
    reader = await new_caller(frozenset(Scope) - {Scope.OPERATIONS_WRITE})
    assert await reader.code(DISCARD, ids=["x"]) == "FORBIDDEN"
    assert await anonymous.code(DISCARD, ids=["x"]) == "UNAUTHENTICATED"
