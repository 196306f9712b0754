"""cancelMessage: canceled or too late; missing and foreign messages are answered alike."""

import pytest

from core.ports.identity import Scope
from resolvers.global_ids import to_global_id
from tests.graph.callers import Caller, NewCaller
from tests.graph.factories import RecordFactory, global_id

CANCEL = """
mutation($id: ID!) {
  cancelMessage(input: {id: $id}) {
    message { id status canCancel nextAttemptAt }
    errors {
      __typename
      ... on UserError { message path }
      ... on InvalidStateError { state }
      ... on NotFoundError { id }
    }
  }
}"""


@pytest.mark.parametrize("status", ["QUEUED", "SCHEDULED"])
async def test_a_waiting_message_is_stopped(caller: Caller, factory: RecordFactory, status: str) -> None:
    id = to_global_id("Message", (await factory.message(caller, status=status)).bytes)
    payload = (await caller.ask(CANCEL, id=id))["cancelMessage"]
    assert payload["errors"] == []
    assert payload["message"] == {"id": id, "status": "CANCELED", "canCancel": False, "nextAttemptAt": None}


@pytest.mark.parametrize("status", ["SENDING", "SENT", "DELIVERED", "FAILED", "UNCONFIRMED"])
async def test_too_late_says_the_state(caller: Caller, factory: RecordFactory, status: str) -> None:
    id = to_global_id("Message", (await factory.message(caller, status=status)).bytes)
    payload = (await caller.ask(CANCEL, id=id))["cancelMessage"]
    [error] = payload["errors"]
    assert payload["message"] is None
    assert (error["__typename"], error["state"], error["path"]) == ("InvalidStateError", status, ["input", "id"])


async def test_unknown_foreign_and_malformed_ids_are_answered_alike(
    caller: Caller, stranger: Caller, factory: RecordFactory
) -> None:
    theirs = to_global_id("Message", (await factory.message(stranger)).bytes)
    answers = []
    for id in (theirs, to_global_id("Message", b"x" * 16), "nonsense", to_global_id("Template", b"x" * 16)):
        [error] = (await caller.ask(CANCEL, id=id))["cancelMessage"]["errors"]
        assert error.pop("id") == id
        answers.append(error)
    assert answers == [answers[0]] * 4
    assert answers[0]["__typename"] == "NotFoundError"


@pytest.mark.parametrize("verb", ["cancelMessage", "retryMessage"])
async def test_a_caller_who_may_send_and_not_read_learns_nothing_about_the_content_of_others(
    new_caller: NewCaller, factory: RecordFactory, verb: str
) -> None:
    document = (
        f"mutation ($id: ID!) {{ {verb}(input: {{id: $id}}) {{ message {{ status content {{ __typename }} }} }} }}"
    )
    sender, reader = await new_caller(frozenset({Scope.MESSAGES_SEND})), await new_caller(frozenset(Scope))
    status = {"cancelMessage": "QUEUED", "retryMessage": "FAILED"}[verb]
    first, second = [global_id(await factory.message(one, status=status)) for one in (sender, reader)]
    answer = await sender.answer(document, id=first)
    [error] = answer.errors
    assert (error["extensions"]["code"], error["path"]) == ("FORBIDDEN", [verb, "message", "content"])
    assert (answer.data or {})[verb]["message"]["content"] is None
    assert (await reader.ask(document, id=second))[verb]["message"]["content"] == {"__typename": "TextContent"}
