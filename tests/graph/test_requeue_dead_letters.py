"""requeueDeadLetters: many at once; the valid ones are requeued, and each invalid one has an error."""

import pytest

from core.ids import uuid7
from core.ports.identity import Scope
from tests.graph.callers import Caller, NewCaller
from tests.graph.factories import RecordFactory, dead_letter_id

REQUEUE = """
mutation ($ids: [ID!]!) {
  requeueDeadLetters(input: {ids: $ids}) {
    deadLetters { id resolution }
    errors {
      __typename ... on UserError { message path } ... on NotFoundError { id } ... on InvalidStateError { state }
    }
  }
}
"""


async def requeued(caller: Caller, *ids: str) -> tuple[list[str], dict[str, str]]:
    """Those that are back at work, and the kind of error at each place."""
    done = (await caller.ask(REQUEUE, ids=list(ids)))["requeueDeadLetters"]
    assert all(one["resolution"] == "REQUEUED" for one in done["deadLetters"])
    errors = {".".join(one["path"]): one["__typename"] for one in done["errors"]}
    return [one["id"] for one in done["deadLetters"]], errors


async def test_a_failed_message_is_queued_again(caller: Caller, factory: RecordFactory) -> None:
    message = await factory.message(caller, status="FAILED", attempts=1)
    letter = dead_letter_id(await factory.dead_letter(caller, message=message))
    assert await requeued(caller, letter) == ([letter], {})
    row = await factory.owner.fetchrow(
        "SELECT status, step, due_at <= now() AS is_due FROM messages WHERE id = $1", message
    )
    assert tuple(row) == ("QUEUED", 1, True)


async def test_good_ones_are_done_beside_bad_ones(caller: Caller, stranger: Caller, factory: RecordFactory) -> None:
    good = dead_letter_id(await factory.dead_letter(caller, message=await factory.message(caller, status="FAILED")))
    event = dead_letter_id(
        await factory.dead_letter(caller, kind="webhook.apply", webhook=await factory.webhook(caller))
    )
    sent = dead_letter_id(await factory.dead_letter(caller, message=await factory.message(caller, status="SENT")))
    closed = dead_letter_id(await factory.dead_letter(caller, resolution="DISCARDED"))
    foreign = dead_letter_id(
        await factory.dead_letter(stranger, message=await factory.message(stranger, status="FAILED"))
    )
    ids = [good, sent, event, closed, foreign, "nonsense", dead_letter_id(uuid7()), good]
    done, errors = await requeued(caller, *ids)
    assert done == [good, event]
    assert errors == {
        "input.ids.1": "InvalidStateError",
        "input.ids.3": "InvalidStateError",
        "input.ids.4": "NotFoundError",
        "input.ids.5": "NotFoundError",
        "input.ids.6": "NotFoundError",
    }
    assert await factory.owner.fetchval("SELECT count(*) FROM dead_letters WHERE tenant_id = $1", stranger.tenant) == 1


async def test_a_message_that_may_arrive_twice_stays_where_it_is(caller: Caller, factory: RecordFactory) -> None:
    message = await factory.message(caller, status="FAILED", attempts=1)
    await factory.owner.execute("UPDATE attempts SET outcome = 'UNCONFIRMED' WHERE message_id = $1", message)
    letter = dead_letter_id(await factory.dead_letter(caller, message=message))
    [error] = (await caller.ask(REQUEUE, ids=[letter]))["requeueDeadLetters"]["errors"]
    assert (error["__typename"], error["state"]) == ("InvalidStateError", "FAILED")
    assert "may arrive twice" in error["message"]


async def test_a_message_that_cannot_be_sent_here_stays_a_dead_letter(caller: Caller, factory: RecordFactory) -> None:
    message = await factory.message(caller, status="FAILED")
    route = '[{"channel": "WHATSAPP"}]'
    await factory.owner.execute("UPDATE messages SET route = $2, channel = 'WHATSAPP' WHERE id = $1", message, route)
    letter = dead_letter_id(await factory.dead_letter(caller, message=message, integration=None))
    assert await requeued(caller, letter) == ([], {"input.ids.0": "IntegrationUnavailableError"})
    assert await factory.owner.fetchval("SELECT status FROM messages WHERE id = $1", message) == "FAILED"


@pytest.mark.parametrize("count", [0, 101])
async def test_none_and_too_many_are_refused(caller: Caller, count: int) -> None:
    assert await caller.code(REQUEUE, ids=["x"] * count) == "INVALID_INPUT"


async def test_it_needs_its_scope_and_no_other(
    new_caller: NewCaller, anonymous: Caller, factory: RecordFactory
) -> None:
    writer = await new_caller(frozenset({Scope.OPERATIONS_WRITE}))
    letter = dead_letter_id(await factory.dead_letter(writer, message=await factory.message(writer, status="FAILED")))
    reader = await new_caller(frozenset(Scope) - {Scope.OPERATIONS_WRITE})
    assert await reader.code(REQUEUE, ids=[letter]) == "FORBIDDEN"
    assert await anonymous.code(REQUEUE, ids=[letter]) == "UNAUTHENTICATED"
    assert await requeued(writer, letter) == ([letter], {})
