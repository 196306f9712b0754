"""sendMessages: many at once, with one result each."""

import pytest

from api.bootstrap import App
from core.ports.identity import Scope
from tests.delivery.round_trips import round_trips
from tests.graph.callers import Caller, NewCaller
from tests.graph.factories import EMAIL_MESSAGE, SEND_MESSAGES, TEXT_MESSAGE, RecordFactory, send_messages


async def test_each_message_has_its_result_and_all_are_one_batch(caller: Caller, factory: RecordFactory) -> None:
    wrong = TEXT_MESSAGE | {"to": {"phone": "1"}}
    payload = await send_messages(
        caller, TEXT_MESSAGE, wrong, EMAIL_MESSAGE, TEXT_MESSAGE | {"schedule": {"after": "PT1H"}}, name="Lembretes"
    )
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
    assert await factory.count("messages", caller) == 3


async def test_the_same_key_answers_with_the_first_batch(caller: Caller, factory: RecordFactory) -> None:
    first = await send_messages(caller, TEXT_MESSAGE, EMAIL_MESSAGE)
    again = await send_messages(caller, TEXT_MESSAGE, EMAIL_MESSAGE)
    assert (again["isReplay"], again["batch"]) == (True, first["batch"])
    assert [one["message"] for one in again["results"]] == [one["message"] for one in first["results"]]
    assert [one["isReplay"] for one in again["results"]] == [True, True]
    other = await send_messages(caller, TEXT_MESSAGE)
    [error] = other["errors"]
    assert (other["batch"], other["results"]) == (None, [])
    assert (error["__typename"], error["path"]) == ("IdempotencyConflictError", ["input", "idempotencyKey"])
    assert await factory.count("messages", caller) == 2


@pytest.mark.parametrize(("size", "rule"), [(0, "REQUIRED"), (501, "TOO_LONG")])
async def test_a_batch_has_one_to_five_hundred_messages(caller: Caller, size: int, rule: str) -> None:
    payload = await send_messages(caller, *[TEXT_MESSAGE] * size)
    [error] = payload["errors"]
    assert (error["rule"], error["path"], payload["batch"]) == (rule, ["input", "messages"], None)


async def test_a_batch_is_answered_by_the_same_number_of_statements_regardless_of_its_size(
    caller: Caller, application: App
) -> None:
    counts = []
    for size in (2, 100):
        async with round_trips(application.database) as seen:
            await send_messages(caller, *[TEXT_MESSAGE] * size, key=f"batch-{size}")
        counts.append(len(seen))
    assert counts[0] == counts[1]


async def test_sending_many_needs_the_scope(new_caller: NewCaller, anonymous: Caller, factory: RecordFactory) -> None:
    reader = await new_caller(frozenset(Scope) - {Scope.MESSAGES_SEND})
    given = {"messages": [TEXT_MESSAGE], "idempotencyKey": "k"}
    assert await reader.code(SEND_MESSAGES, input=given) == "FORBIDDEN"
    assert await anonymous.code(SEND_MESSAGES, input=given) == "UNAUTHENTICATED"
    assert await factory.count("messages", reader) == 0
