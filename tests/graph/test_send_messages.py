"""sendMessages: many at once, and one result each."""

from typing import Any

import pytest

from api.bootstrap import House
from core.access.principal import Scope
from tests.delivery.trips import round_trips
from tests.graph.callers import Caller
from tests.graph.conftest import NewCaller
from tests.graph.stock import Stock
from tests.graph.test_send_message import EMAIL, TEXT

SEND = """
mutation Send($input: SendMessagesInput!) {
  sendMessages(input: $input) {
    isReplay
    batch { id name createdAt finishedAt counts { total queued scheduled failed } }
    results {
      isReplay
      message { id status toMasked batch { id } }
      errors { __typename ... on UserError { message path } ... on InvalidInputError { rule } }
    }
    errors { __typename ... on UserError { message path } ... on InvalidInputError { rule } }
  }
}
"""


async def send(caller: Caller, *messages: dict[str, Any], key: str = "batch-1", **given: Any) -> dict[str, Any]:
    data = await caller.ask(SEND, input={"messages": list(messages), "idempotencyKey": key} | given)
    found: dict[str, Any] = data["sendMessages"]
    return found


async def test_each_message_has_its_result_and_all_are_one_batch(caller: Caller, stock: Stock) -> None:
    wrong = TEXT | {"to": {"phone": "1"}}
    payload = await send(caller, TEXT, wrong, EMAIL, TEXT | {"schedule": {"after": "PT1H"}}, name="Lembretes")
    batch, results = payload["batch"], payload["results"]
    assert (payload["isReplay"], payload["errors"]) == (False, [])
    assert [result["message"] and result["message"]["status"] for result in results] == [
        "QUEUED",
        None,
        "QUEUED",
        "SCHEDULED",
    ]
    [error] = results[1]["errors"]
    assert (error["path"], error["rule"]) == (["input", "messages", "1", "to", "phone"], "MALFORMED")
    assert batch["counts"] == {"total": 3, "queued": 2, "scheduled": 1, "failed": 0}
    assert (batch["name"], batch["finishedAt"]) == ("Lembretes", None)
    assert {result["message"]["batch"]["id"] for result in results if result["message"]} == {batch["id"]}
    assert await stock.count("messages", caller) == 3


async def test_the_same_key_answers_with_the_first_batch(caller: Caller, stock: Stock) -> None:
    first = await send(caller, TEXT, EMAIL)
    again = await send(caller, TEXT, EMAIL)
    assert (again["isReplay"], again["batch"]) == (True, first["batch"])
    assert [one["message"] for one in again["results"]] == [one["message"] for one in first["results"]]
    assert [one["isReplay"] for one in again["results"]] == [True, True]
    other = await send(caller, TEXT)
    [error] = other["errors"]
    assert (other["batch"], other["results"]) == (None, [])
    assert (error["__typename"], error["path"]) == ("IdempotencyConflictError", ["input", "idempotencyKey"])
    assert await stock.count("messages", caller) == 2


@pytest.mark.parametrize(("size", "rule"), [(0, "REQUIRED"), (501, "TOO_LONG")])
async def test_a_batch_holds_from_one_to_five_hundred(caller: Caller, size: int, rule: str) -> None:
    payload = await send(caller, *[TEXT] * size)
    [error] = payload["errors"]
    assert (error["rule"], error["path"], payload["batch"]) == (rule, ["input", "messages"], None)


async def test_a_batch_is_answered_by_as_many_statements_whatever_its_size(caller: Caller, house: House) -> None:
    counts = []
    for size in (2, 100):
        async with round_trips(house.database) as seen:
            await send(caller, *[TEXT] * size, key=f"batch-{size}")
        counts.append(len(seen))
    assert counts[0] == counts[1]


async def test_sending_many_needs_the_scope(new_caller: NewCaller, nobody: Caller, stock: Stock) -> None:
    reader = await new_caller(frozenset(Scope) - {Scope.MESSAGES_SEND})
    given = {"messages": [TEXT], "idempotencyKey": "k"}
    assert await reader.code(SEND, input=given) == "FORBIDDEN"
    assert await nobody.code(SEND, input=given) == "UNAUTHENTICATED"
    assert await stock.count("messages", reader) == 0
