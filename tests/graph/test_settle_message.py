"""settleMessage and cancelMessageBatch: the required scope, what is stored, and the same answer for a repeated call."""

import pytest

from core.ports.identity import Scope
from resolvers.global_ids import to_global_id
from tests.graph.callers import Caller, NewCaller
from tests.graph.factories import RecordFactory

SETTLE = """
mutation($id: ID!, $as: SettleAs!) {
  settleMessage(input: {id: $id, as: $as}) {
    message { status }
    errors { __typename ... on UserError { message advice path } ... on InvalidStateError { state } }
  }
}"""
RETRY = """mutation($id: ID!) { retryMessage(input: {id: $id}) {
  message { status } errors { ... on UserError { message advice } } } }"""
CANCEL = RETRY.replace("retryMessage", "cancelMessage")
ACTS = "{ auditEvents(first: 10) { nodes { action outcome targetId } } }"


@pytest.mark.parametrize(("decision", "status"), [("SENT", "SENT"), ("FAILED", "FAILED"), ("RESEND", "QUEUED")])
async def test_an_operator_decides_and_it_is_written_down(
    new_caller: NewCaller, factory: RecordFactory, decision: str, status: str
) -> None:
    caller = await new_caller(frozenset({Scope.OPERATIONS_WRITE, Scope.OPERATIONS_READ}))
    id = to_global_id("Message", (await factory.message(caller, status="UNCONFIRMED")).bytes)
    for _ in range(2):
        payload = (await caller.ask(SETTLE, id=id, **{"as": decision}))["settleMessage"]
        assert payload["errors"] == []
        assert payload["message"] == {"status": status}
    acts = (await caller.ask(ACTS))["auditEvents"]["nodes"]
    assert acts == [{"action": "settleMessage", "outcome": "DONE", "targetId": id}]


async def test_what_cannot_be_settled_is_refused_alike(
    caller: Caller, stranger: Caller, factory: RecordFactory
) -> None:
    theirs = to_global_id("Message", (await factory.message(stranger, status="UNCONFIRMED")).bytes)
    for id in (theirs, "nonsense", to_global_id("Message", b"x" * 16)):
        [error] = (await caller.ask(SETTLE, id=id, **{"as": "SENT"}))["settleMessage"]["errors"]
        assert error["__typename"] == "NotFoundError"
    waiting = to_global_id("Message", (await factory.message(caller)).bytes)
    [error] = (await caller.ask(SETTLE, id=waiting, **{"as": "SENT"}))["settleMessage"]["errors"]
    assert (error["__typename"], error["state"], error["path"]) == ("InvalidStateError", "QUEUED", ["input", "id"])


async def test_a_caller_who_may_only_send_may_not_settle(new_caller: NewCaller, factory: RecordFactory) -> None:
    caller = await new_caller(frozenset({Scope.MESSAGES_SEND}))
    id = to_global_id("Message", (await factory.message(caller, status="UNCONFIRMED")).bytes)
    assert await caller.code(SETTLE, id=id, **{"as": "SENT"}) == "FORBIDDEN"


async def test_the_advice_about_an_unconfirmed_message_names_it(caller: Caller, factory: RecordFactory) -> None:
    id = to_global_id("Message", (await factory.message(caller, status="UNCONFIRMED")).bytes)
    for document, verb in ((RETRY, "retryMessage"), (CANCEL, "cancelMessage")):
        [error] = (await caller.ask(document, id=id))[verb]["errors"]
        assert "settleMessage" in error["advice"]
        assert "new message" not in error["message"].lower()


async def test_what_was_done_is_answered_alike_when_asked_again(caller: Caller, factory: RecordFactory) -> None:
    cases = ((RETRY, "retryMessage", "FAILED", "QUEUED"), (CANCEL, "cancelMessage", "QUEUED", "CANCELED"))
    for document, verb, before, after in cases:
        id = to_global_id("Message", (await factory.message(caller, status=before)).bytes)
        answers = [(await caller.ask(document, id=id))[verb] for _ in range(2)]
        assert answers == [{"message": {"status": after}, "errors": []}] * 2


async def test_what_came_in_is_refused_with_the_status_that_it_has(caller: Caller, factory: RecordFactory) -> None:
    id = to_global_id("Message", (await factory.message(caller, status="DELIVERED", sender="+5511987650000")).bytes)
    state = "... on InvalidStateError { state }"
    for document, verb, more in (
        (RETRY, "retryMessage", {}),
        (CANCEL, "cancelMessage", {}),
        (SETTLE, "settleMessage", {"as": "SENT"}),
    ):
        asked = document if state in document else document.replace("errors {", f"errors {{ {state}")
        [error] = (await caller.ask(asked, id=id, **more))[verb]["errors"]
        assert (error["state"], "RECEIVED" in error["message"]) == ("RECEIVED", True), error
