"""Options of sendMessage: step deadlines, schedules, expiry, external ids, simulation, and a full queue."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from api.bootstrap import App
from core.messages.accept import Backpressure
from core.ports import Channel
from core.ports.identity import Scope
from tests.apps import build_application
from tests.databases import Urls
from tests.delivery.round_trips import round_trips
from tests.graph.callers import Caller, NewCaller
from tests.graph.factories import TEXT_MESSAGE, RecordFactory, global_id

SEND = """
mutation Send($input: SendMessageInput!) {
  sendMessage(input: $input) {
    isReplay
    message {
      id status sendAt nextAttemptAt expiresAt externalId canCancel canRetry createdAt
      route { channel within until onUnconfirmed outcome } batch { id }
    }
    errors {
      __typename
      ... on UserError { message path }
      ... on InvalidInputError { rule }
      ... on IntegrationUnavailableError { retryAt integration { kind } }
    }
  }
}
"""


async def send(caller: Caller, **given: Any) -> dict[str, Any]:
    data = await caller.ask(SEND, input=TEXT_MESSAGE | given)
    found: dict[str, Any] = data["sendMessage"]
    return found


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


async def test_a_message_for_later_says_when_and_until_when(caller: Caller) -> None:
    payload = await send(caller, schedule={"after": "PT2H"}, expiresIn="PT30M", externalId="order-1")
    message = payload["message"]
    assert (message["status"], message["externalId"], message["nextAttemptAt"]) == ("SCHEDULED", "order-1", None)
    assert moment(message["sendAt"]) - moment(message["createdAt"]) == timedelta(hours=2)
    assert moment(message["expiresAt"]) - moment(message["sendAt"]) == timedelta(minutes=30)
    assert (message["canCancel"], message["canRetry"], message["batch"]) == (True, False, None)


async def test_quiet_hours_cover_every_time_zone_of_a_shared_area_code(caller: Caller) -> None:
    day = datetime.now(UTC).date() + timedelta(days=2)
    # 10:00 UTC is 07:00 in Recife, Santarém and Marabá, 06:00 in Manaus and 05:00 in Rio Branco.
    for area, hour in {"81": 11, "93": 11, "94": 11, "11": 11, "92": 12, "67": 12, "68": 13}.items():
        to, at = {"phone": f"+55{area}987000001"}, f"{day}T10:00:00Z"
        message = (await send(caller, to=to, schedule={"at": at}, respectQuietHours=True))["message"]
        assert message["sendAt"] == f"{day}T{hour}:00:00.000Z", area


async def test_it_can_be_scheduled_for_a_moment(caller: Caller) -> None:
    at = (datetime.now().astimezone() + timedelta(days=1)).replace(microsecond=0)
    message = (await send(caller, schedule={"at": at.isoformat()}))["message"]
    assert (message["status"], moment(message["sendAt"])) == ("SCHEDULED", at)


async def test_a_route_keeps_what_was_asked_and_fills_in_what_was_not(caller: Caller, application: App) -> None:
    steps = [{"channel": "SMS", "until": "SENT", "onUnconfirmed": "RESEND"}]
    message = (await send(caller, route=steps))["message"]
    assert message["route"] == [
        {"channel": "SMS", "within": None, "until": "SENT", "onUnconfirmed": "RESEND", "outcome": "TRYING"}
    ]
    message = (await send(caller))["message"]
    assert message["route"] == [
        {"channel": "SMS", "within": None, "until": "DELIVERED", "onUnconfirmed": "WAIT", "outcome": "TRYING"}
    ]


REFUSED: dict[str, tuple[dict[str, Any], str, str]] = {
    "a moment long past": ({"schedule": {"at": "2020-01-01T00:00:00Z"}}, "input.schedule.at", "IN_THE_PAST"),
    "a moment far ahead": ({"schedule": {"at": "2099-01-01T00:00:00Z"}}, "input.schedule.at", "OUT_OF_RANGE"),
    "two years from now": ({"schedule": {"after": "P730D"}}, "input.schedule.after", "OUT_OF_RANGE"),
    "a life of a second": ({"expiresIn": "PT1S"}, "input.expiresIn", "OUT_OF_RANGE"),
    "an empty external id": ({"externalId": " "}, "input.externalId", "TOO_SHORT"),
    "a long external id": ({"externalId": "x" * 256}, "input.externalId", "TOO_LONG"),
    "an external id on two lines": ({"externalId": "a\nb"}, "input.externalId", "MALFORMED"),
    "a time for the last step": (
        {"route": [{"channel": "SMS", "within": "PT5M"}]},
        "input.route.0.within",
        "NOT_ALLOWED",
    ),
    "a delivery by e-mail": (
        {
            "to": {"email": "ana@example.com"},
            "content": {"email": {"subject": "Olá", "plainText": "x"}},
            "route": [{"channel": "EMAIL", "until": "DELIVERED"}],
        },
        "input.route.0.until",
        "NOT_ALLOWED",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
async def test_invalid_options_are_refused_with_their_path(caller: Caller, factory: RecordFactory, case: str) -> None:
    given, path, rule = REFUSED[case]
    payload = await send(caller, **given)
    [error] = payload["errors"]
    assert (".".join(error["path"]), error["rule"]) == (path, rule)
    assert await factory.count("messages", caller) == 0


@pytest.mark.parametrize("within", ["PT0.5S", "P4D"])
async def test_a_step_s_time_has_bounds(graph_urls: Urls, caller: Caller, within: str) -> None:
    route = [{"channel": "WHATSAPP", "within": within}, {"channel": "SMS"}]
    errors = (await send(caller, route=route))["errors"]
    assert [(error["rule"], error["path"]) for error in errors if "rule" in error] == [
        ("OUT_OF_RANGE", ["input", "route", "0", "within"])
    ]


@pytest.mark.parametrize(
    "given",
    [
        {"schedule": {"at": "2027-01-01T00:00:00Z", "after": "PT1H"}},
        {"schedule": {}},
        {"schedule": {"after": "1 hour"}},
        {"expiresIn": "P1M"},
        {"route": [{"channel": "SMS", "until": "READ"}]},
    ],
)
async def test_options_of_the_wrong_shape_never_begin(
    caller: Caller, factory: RecordFactory, given: dict[str, Any]
) -> None:
    assert await caller.code(SEND, input=TEXT_MESSAGE | given) == "VARIABLES"
    assert await factory.count("messages", caller) == 0


async def test_an_external_id_names_one_message_for_good(
    caller: Caller, stranger: Caller, factory: RecordFactory
) -> None:
    assert (await send(caller, externalId="order-1"))["errors"] == []
    again = await send(caller, externalId="order-1", idempotencyKey="another")
    [error] = again["errors"]
    assert (error["rule"], error["path"]) == ("NOT_ALLOWED", ["input", "externalId"])
    assert "belongs to a message of" in error["message"]
    assert (await send(stranger, externalId="order-1"))["errors"] == []
    assert await factory.count("messages", caller) == 1


async def test_a_rehearsal_stores_nothing(caller: Caller, factory: RecordFactory) -> None:
    payload = await send(caller, dryRun=True, idempotencyKey="k", externalId="order-1")
    assert payload == {"message": None, "isReplay": False, "errors": []}
    [error] = (await send(caller, dryRun=True, to={"phone": "1"}))["errors"]
    assert error["rule"] == "MALFORMED"
    assert await factory.count("messages", caller) == await factory.count("idempotency_keys", caller) == 0


async def test_a_full_queue_answers_with_a_time_to_come_back(
    graph_urls: Urls, caller: Caller, factory: RecordFactory
) -> None:
    application = build_application(graph_urls)
    crowded = Caller(application, caller.engine, caller.principal)
    try:
        await send(crowded, idempotencyKey="order-1")
        application.services.outbox.pressure = Backpressure(application.database, 1)
        await application.services.outbox.pressure.look([Channel.SMS])
        payload = await send(crowded)
        replay = await send(crowded, idempotencyKey="order-1")
    finally:
        await application.close()
    [error] = payload["errors"]
    assert (payload["message"], error["__typename"]) == (None, "IntegrationUnavailableError")
    assert error["integration"] == {"kind": "TWILIO"}
    assert error["retryAt"].endswith("Z")
    assert (replay["isReplay"], replay["errors"]) == (True, [])
    assert await factory.count("messages", caller) == 1


async def test_a_new_message_is_answered_without_being_read(caller: Caller, application: App) -> None:
    known = """mutation ($input: SendMessageInput!) { sendMessage(input: $input) {
      message { id status to toMasked content { ... on TextContent { text } } createdAt sendAt route { channel } }
    } }"""
    async with round_trips(application.database) as seen:
        payload = (await caller.ask(known, input=TEXT_MESSAGE))["sendMessage"]
    assert len(seen) == 3
    read = "query ($id: ID!) { message(id: $id) { id status to toMasked content { ... on TextContent { text } }"
    data = await caller.ask(f"{read} createdAt sendAt route {{ channel }} }} }}", id=payload["message"]["id"])
    assert data["message"] == payload["message"]


async def test_who_may_only_send_is_shown_what_was_sent(new_caller: NewCaller) -> None:
    sender = await new_caller(frozenset({Scope.MESSAGES_SEND}))
    document = "mutation ($input: SendMessageInput!) { sendMessage(input: $input) { isReplay message { status } } }"
    for is_replay in (False, True):
        data = await sender.ask(document, input=TEXT_MESSAGE | {"idempotencyKey": "order-1"})
        assert data["sendMessage"] == {"isReplay": is_replay, "message": {"status": "QUEUED"}}


async def test_outcomes_of_a_page_are_one_statement_and_only_when_asked_for(
    caller: Caller, factory: RecordFactory, application: App
) -> None:
    for _ in range(5):
        message = await factory.message(caller, status="SENT", attempts=2)
    for field, expected in (("outcome", 2), ("until", 1)):
        async with round_trips(application.database) as seen:
            data = await caller.ask(f"{{ messages {{ nodes {{ route {{ {field} }} }} }} }}")
        statements = [one for one in seen if "BEGIN" not in one and one != "COMMIT"]
        assert len(statements) == expected
        assert len(data["messages"]["nodes"]) == 5
    found = await caller.ask("query ($id: ID!) { message(id: $id) { canCancel canRetry } }", id=global_id(message))
    assert found["message"] == {"canCancel": False, "canRetry": False}
