"""cancelMessage: in time or not, said honestly; what is not there or anothers' is answered alike."""

import pytest

from resolvers.identifiers import to_global_id
from tests.graph.callers import Caller
from tests.graph.stock import Stock

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
async def test_a_waiting_message_is_stopped(caller: Caller, stock: Stock, status: str) -> None:
    id = to_global_id("Message", (await stock.put(caller, status=status)).bytes)
    payload = (await caller.ask(CANCEL, id=id))["cancelMessage"]
    assert payload["errors"] == []
    assert payload["message"] == {"id": id, "status": "CANCELED", "canCancel": False, "nextAttemptAt": None}


@pytest.mark.parametrize("status", ["SENDING", "SENT", "DELIVERED", "FAILED", "UNCONFIRMED", "CANCELED"])
async def test_too_late_says_the_state(caller: Caller, stock: Stock, status: str) -> None:
    id = to_global_id("Message", (await stock.put(caller, status=status)).bytes)
    payload = (await caller.ask(CANCEL, id=id))["cancelMessage"]
    [error] = payload["errors"]
    assert payload["message"] is None
    assert (error["__typename"], error["state"], error["path"]) == ("InvalidStateError", status, ["input", "id"])


async def test_unknown_foreign_and_malformed_ids_are_answered_alike(
    caller: Caller, stranger: Caller, stock: Stock
) -> None:
    theirs = to_global_id("Message", (await stock.put(stranger)).bytes)
    answers = []
    for id in (theirs, to_global_id("Message", b"x" * 16), "nonsense", to_global_id("Template", b"x" * 16)):
        [error] = (await caller.ask(CANCEL, id=id))["cancelMessage"]["errors"]
        assert error.pop("id") == id
        answers.append(error)
    assert answers == [answers[0]] * 4
    assert answers[0]["__typename"] == "NotFoundError"
