"""replayWebhook: a processed webhook is processed again; a waiting or foreign one is not."""

import pytest

from core.ports.identity import Scope
from resolvers.global_ids import to_global_id
from tests.graph.callers import Caller, NewCaller
from tests.graph.factories import RecordFactory, webhook_delivery_id

REPLAY = """
mutation ($id: ID!) {
  replayWebhook(input: {id: $id}) {
    delivery { id status attempts error processedAt }
    errors {
      __typename ... on UserError { message path } ... on NotFoundError { id } ... on InvalidStateError { state }
    }
  }
}
"""


@pytest.mark.parametrize("status", ["PROCESSED", "IGNORED", "FAILED"])
async def test_what_was_dealt_with_waits_again(caller: Caller, factory: RecordFactory, status: str) -> None:
    webhook = await factory.webhook(caller, status=status)
    await factory.dead_letter(caller, kind="webhook.apply", webhook=webhook)
    done = (await caller.ask(REPLAY, id=webhook_delivery_id(webhook)))["replayWebhook"]
    assert done == {
        "delivery": {
            "id": webhook_delivery_id(webhook),
            "status": "RECEIVED",
            "attempts": 0,
            "error": None,
            "processedAt": None,
        },
        "errors": [],
    }
    assert await factory.owner.fetchval("SELECT due_at <= now() FROM inbox WHERE id = $1", webhook)
    assert (
        await factory.owner.fetchval("SELECT resolution FROM dead_letters WHERE inbox_id = $1", webhook) == "REQUEUED"
    )


async def test_what_waits_already_is_said_to(caller: Caller, factory: RecordFactory) -> None:
    webhook = await factory.webhook(caller, status="RECEIVED")
    done = (await caller.ask(REPLAY, id=webhook_delivery_id(webhook)))["replayWebhook"]
    [error] = done["errors"]
    assert done["delivery"] is None
    assert (error["__typename"], error["state"], error["path"]) == ("InvalidStateError", "RECEIVED", ["input", "id"])


async def test_foreign_and_unassigned_webhooks_are_not_found(
    caller: Caller, stranger: Caller, factory: RecordFactory
) -> None:
    webhook = await factory.webhook(caller)
    for id in (webhook_delivery_id(webhook), "nonsense", to_global_id("Message", webhook.bytes)):
        done = (await stranger.ask(REPLAY, id=id))["replayWebhook"]
        [error] = done["errors"]
        assert (error["__typename"], error["id"], error["path"]) == ("NotFoundError", id, ["input", "id"])
    assert await factory.owner.fetchval("SELECT status FROM inbox WHERE id = $1", webhook) == "PROCESSED"


async def test_it_needs_its_scope_and_no_other(
    new_caller: NewCaller, anonymous: Caller, factory: RecordFactory
) -> None:
    writer = await new_caller(frozenset({Scope.OPERATIONS_WRITE}))
    webhook = await factory.webhook(writer)
    assert (await writer.ask(REPLAY, id=webhook_delivery_id(webhook)))["replayWebhook"]["errors"] == []
    reader = await new_caller(frozenset(Scope) - {Scope.OPERATIONS_WRITE})
    assert await reader.code(REPLAY, id=webhook_delivery_id(webhook)) == "FORBIDDEN"
    assert await anonymous.code(REPLAY, id="x") == "UNAUTHENTICATED"
