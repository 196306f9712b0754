"""retryMessage: a failed message is queued again, over its route or another valid one."""

import pytest

from resolvers.global_ids import to_global_id
from tests.graph.callers import Caller
from tests.graph.factories import RecordFactory

RETRY = """
mutation($id: ID!, $route: [RouteStepInput!], $mayArriveTwice: Boolean! = true) {
  retryMessage(input: {id: $id, route: $route, mayArriveTwice: $mayArriveTwice}) {
    message { status channel canRetry route { channel onUnconfirmed outcome } failure { message } }
    errors {
      __typename
      ... on UserError { code message path }
      ... on InvalidStateError { state }
      ... on NotFoundError { id }
    }
  }
}"""


async def retried(
    caller: Caller, factory: RecordFactory, route: list[dict[str, object]] | None = None
) -> dict[str, object]:
    id = to_global_id("Message", (await factory.message(caller, status="FAILED", attempts=1)).bytes)
    return dict((await caller.ask(RETRY, id=id, route=route))["retryMessage"])


async def test_a_failed_message_waits_for_a_worker_again(caller: Caller, factory: RecordFactory) -> None:
    payload = await retried(caller, factory)
    assert payload["errors"] == []
    message = payload["message"]
    assert isinstance(message, dict)
    assert (message["status"], message["canRetry"], message["failure"]) == ("QUEUED", False, None)
    assert [step["channel"] for step in message["route"]] == ["SMS", "SMS"]


async def test_it_may_take_another_route(caller: Caller, factory: RecordFactory) -> None:
    message = (await retried(caller, factory, [{"channel": "SMS", "onUnconfirmed": "RESEND"}]))["message"]
    assert isinstance(message, dict)
    assert [step["onUnconfirmed"] for step in message["route"]] == ["WAIT", "RESEND"]


async def test_what_may_arrive_twice_is_tried_only_by_who_accepts_that(caller: Caller, factory: RecordFactory) -> None:
    message = await factory.message(caller, status="FAILED", attempts=1)
    await factory.owner.execute("UPDATE attempts SET outcome = 'UNCONFIRMED' WHERE message_id = $1", message)
    given = {"id": to_global_id("Message", message.bytes), "mayArriveTwice": False}
    [error] = (await caller.ask(RETRY, **given))["retryMessage"]["errors"]
    assert (error["__typename"], error["code"]) == ("InvalidStateError", "MAY_ARRIVE_TWICE")
    assert (await caller.ask(RETRY, **given | {"mayArriveTwice": True}))["retryMessage"]["errors"] == []
    refused = await factory.message(caller, status="FAILED", attempts=1)
    done = await caller.ask(RETRY, id=to_global_id("Message", refused.bytes), mayArriveTwice=False)
    assert done["retryMessage"]["errors"] == []


async def test_an_unserved_channel_is_refused(caller: Caller, factory: RecordFactory) -> None:
    [error] = (await retried(caller, factory, [{"channel": "WHATSAPP"}]))["errors"]  # type: ignore[misc, attr-defined]
    assert (error["__typename"], error["path"]) == ("IntegrationUnavailableError", ["input", "route", "0", "channel"])


@pytest.mark.parametrize(
    ("route", "path"),
    [
        ([], ["input", "route"]),
        ([{"channel": "EMAIL"}], ["input", "route", "0", "channel"]),
        ([{"channel": "SMS"}, {"channel": "SMS"}], ["input", "route", "1", "channel"]),
        ([{"channel": "SMS", "within": "PT5M"}], ["input", "route", "0", "within"]),
    ],
)
async def test_a_route_that_does_not_fit_is_refused(
    caller: Caller, factory: RecordFactory, route: list[dict[str, object]], path: list[str]
) -> None:
    payload = await retried(caller, factory, route)
    errors = payload["errors"]
    assert isinstance(errors, list)
    assert payload["message"] is None
    assert path in [error["path"] for error in errors]
    assert {error["__typename"] for error in errors} == {"InvalidInputError"}


@pytest.mark.parametrize("status", ["QUEUED", "SENDING", "SENT", "DELIVERED", "UNCONFIRMED", "CANCELED"])
async def test_only_what_failed_is_tried_again(caller: Caller, factory: RecordFactory, status: str) -> None:
    id = to_global_id("Message", (await factory.message(caller, status=status)).bytes)
    [error] = (await caller.ask(RETRY, id=id))["retryMessage"]["errors"]
    assert (error["__typename"], error["state"]) == ("InvalidStateError", status)


@pytest.mark.parametrize("route", [None, [{"channel": "SMS"}]])
async def test_unknown_foreign_and_malformed_ids_are_answered_alike(
    caller: Caller, stranger: Caller, factory: RecordFactory, route: list[dict[str, object]] | None
) -> None:
    theirs = to_global_id("Message", (await factory.message(stranger, status="FAILED")).bytes)
    answers = []
    for id in (theirs, to_global_id("Message", b"x" * 16), "nonsense"):
        [error] = (await caller.ask(RETRY, id=id, route=route))["retryMessage"]["errors"]
        assert error.pop("id") == id
        answers.append(error)
    assert answers == [answers[0]] * 3
