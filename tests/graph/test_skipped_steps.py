"""A route with an unserved step: the step is skipped and reported, unless the server is strict."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from api.bootstrap import App, channel_services
from api.cli.check import _lines
from api.configuration import load_configuration
from tests.apps import WHATSAPP, build_application
from tests.databases import Urls
from tests.graph.callers import Caller
from tests.graph.factories import RecordFactory

ERROR = "__typename ... on UserError { code message path }"
SKIPPED = "skipped { code message path integration { kind } }"
SEND = f"""mutation ($input: SendMessageInput!) {{ sendMessage(input: $input) {{
  isReplay message {{ id channel route {{ channel within }} }} {SKIPPED} errors {{ {ERROR} }} }} }}"""
BATCH = f"""mutation ($input: SendMessagesInput!) {{ sendMessages(input: $input) {{
  results {{ message {{ channel }} {SKIPPED} errors {{ {ERROR} }} }} errors {{ {ERROR} }} }} }}"""
BOTH: dict[str, Any] = {
    "to": {"phone": "+5511987654321"},
    "content": {"text": "Oi"},
    "route": [{"channel": "WHATSAPP", "within": "PT5M"}, {"channel": "SMS"}],
}


@pytest.fixture
async def strict(graph_urls: Urls, caller: Caller) -> AsyncIterator[Caller]:
    application: App = build_application(graph_urls, ROUTE_STEPS="strict")
    yield Caller(application, caller.engine, caller.principal)
    await application.close()


@pytest.fixture
async def with_whatsapp(graph_urls: Urls, caller: Caller) -> AsyncIterator[Caller]:
    application = build_application(graph_urls, **WHATSAPP)
    yield Caller(application, caller.engine, caller.principal)
    await application.close()


async def send(caller: Caller, **given: Any) -> dict[str, Any]:
    return dict((await caller.ask(SEND, input=BOTH | given))["sendMessage"])


async def test_an_unserved_step_is_skipped_and_reported(caller: Caller, factory: RecordFactory) -> None:
    sent = await send(caller)
    assert sent["errors"] == []
    assert (sent["message"]["channel"], sent["message"]["route"]) == ("SMS", [{"channel": "SMS", "within": None}])
    [skipped] = sent["skipped"]
    assert (skipped["code"], skipped["path"]) == ("CHANNEL_NOT_CONFIGURED", ["input", "route", "0", "channel"])
    assert (skipped["integration"]["kind"], "WHATSAPP_ACCESS_TOKEN" in skipped["message"]) == ("WHATSAPP", True)
    row = await factory.owner.fetchrow("SELECT channel, route FROM messages WHERE tenant_id = $1", caller.tenant)
    assert (row["channel"], "WHATSAPP" in str(row["route"])) == ("SMS", False)


async def test_a_step_before_one_that_is_left_out_has_all_the_time_there_is(caller: Caller) -> None:
    route = [{"channel": "SMS", "within": "PT5M"}, {"channel": "WHATSAPP"}]
    sent = await send(caller, route=route)
    assert sent["message"]["route"] == [{"channel": "SMS", "within": None}]
    assert sent["skipped"][0]["path"] == ["input", "route", "1", "channel"]


async def test_a_rehearsal_and_a_batch_say_the_same(caller: Caller, factory: RecordFactory) -> None:
    rehearsed = await send(caller, dryRun=True)
    assert (rehearsed["message"], rehearsed["errors"], len(rehearsed["skipped"])) == (None, [], 1)
    assert await factory.count("messages", caller) == 0
    given = {"idempotencyKey": "b", "messages": [BOTH, BOTH | {"route": [{"channel": "SMS"}]}, BOTH | {"dryRun": True}]}
    batch = (await caller.ask(BATCH, input=given))["sendMessages"]
    assert [len(one["skipped"]) for one in batch["results"]] == [1, 0, 1]
    assert [one["errors"] for one in batch["results"]] == [[], [], []]


async def test_it_is_refused_when_none_is_left(caller: Caller, factory: RecordFactory) -> None:
    for rehearsal in (True, False):
        refused = await send(caller, route=[{"channel": "WHATSAPP"}], dryRun=rehearsal)
        [error] = refused["errors"]
        assert (error["__typename"], error["code"]) == ("IntegrationUnavailableError", "CHANNEL_NOT_CONFIGURED")
        assert (refused["message"], refused["skipped"]) == (None, [])
    assert await factory.count("messages", caller) == 0


async def test_a_strict_server_refuses_the_whole_route(strict: Caller, factory: RecordFactory) -> None:
    for rehearsal in (True, False):
        refused = await send(strict, dryRun=rehearsal)
        [error] = refused["errors"]
        assert (error["code"], error["path"]) == ("CHANNEL_NOT_CONFIGURED", ["input", "route", "0", "channel"])
        assert (refused["message"], refused["skipped"]) == (None, [])
    assert await factory.count("messages", strict) == 0


async def test_the_same_request_is_the_same_once_the_provider_is_configured(
    caller: Caller, with_whatsapp: Caller
) -> None:
    first = await send(caller, idempotencyKey="order-1")
    again = await send(with_whatsapp, idempotencyKey="order-1")
    assert (again["isReplay"], again["message"]["id"], again["errors"]) == (True, first["message"]["id"], [])
    other = await send(with_whatsapp, idempotencyKey="order-2")
    assert ([one["channel"] for one in other["message"]["route"]], other["skipped"]) == (["WHATSAPP", "SMS"], [])


async def test_check_names_the_code_that_the_api_answers(caller: Caller, strict: Caller) -> None:
    configuration = load_configuration({"APP_ENV": "production"})
    said = {line.name: line.words for line in _lines(configuration)}
    answers = {service.integration: service.advice for service in channel_services(configuration).values()}
    assert set(answers) == {"whatsapp", "twilio", "smtp"}
    for integration, advice in answers.items():
        assert said[integration].endswith(f"will answer {advice.code}"), integration  # type: ignore[attr-defined]
    [error] = (await send(caller, route=[{"channel": "WHATSAPP"}]))["errors"]
    assert f"will answer {error['code']}" in said["whatsapp"]
