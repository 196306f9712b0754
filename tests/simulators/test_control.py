"""The control API: the same contract for every simulator."""

from datetime import datetime
from typing import Any

import httpx
import pytest
from twilio.rest import Client

from core.ports import OtherEvent, RawWebhook
from integrations.simulating.client import SimulatorRefused
from integrations.simulating.control import Control
from integrations.simulating.journal import Journal
from tests.contract.providers import unused_port
from tests.helpers import until
from tests.servers import Simulators, WebhookReceiver
from tests.simulators.clients import SIMULATED, WITH_CHANNELS, adapter, send_through_adapter
from tests.simulators.clients import send_sms as sent_by_sdk

every = pytest.mark.parametrize("name", WITH_CHANNELS)


async def refused(asking: Any, status: int = 400, field: str | None = None) -> str:
    with pytest.raises(SimulatorRefused) as caught:
        await asking
    assert (caught.value.status, caught.value.field) == (status, field)
    return str(caught.value)


async def keep_still(name: str, simulators: Simulators) -> None:
    """Keep messages from changing on their own, for providers that report at all."""
    if (await simulators.control.state(name))["webhooks"] is not None:
        await simulators.control.plan_webhooks(name, automatic=False)


async def test_every_provider_is_in_the_list(simulators: Simulators) -> None:
    assert [one["name"] for one in (await simulators.control.everything())["simulators"]] == SIMULATED


@every
async def test_its_state_says_what_it_can_do(simulators: Simulators, name: str) -> None:
    state = await simulators.control.state(name)
    assert (state["name"], state["messages"], state["faults"], state["held"]) == (name, 0, [], 0)
    assert state["points"]
    assert datetime.fromisoformat(state["now"]).tzinfo is not None
    assert all(event["words"].endswith(".") for event in state["events"])


@every
async def test_what_arrived_is_listed_and_shown_one_by_one(
    simulators: Simulators, receiver: WebhookReceiver, name: str
) -> None:
    message_id = await send_through_adapter(name, simulators, receiver)
    [listed] = await simulators.control.messages(name)
    assert await simulators.control.message(name, message_id) == listed
    assert await simulators.control.messages(name, since="2099-01-01") == []
    await refused(simulators.control.message(name, "nothing"), 404)


@every
async def test_a_fault_is_armed_strikes_and_is_disarmed(
    simulators: Simulators, receiver: WebhookReceiver, name: str
) -> None:
    fault = await simulators.control.arm(name, "slow", next=1, seconds=0.01)
    await send_through_adapter(name, simulators, receiver)
    [armed] = (await simulators.control.state(name))["faults"]
    assert (armed["id"], armed["struck"], armed["spent"]) == (fault["id"], 1, True)
    await simulators.control.disarm(name, fault["id"])
    assert (await simulators.control.state(name))["faults"] == []
    await refused(simulators.control.disarm(name, fault["id"]), 404)
    await refused(simulators.control.arm(name, "code", next=1, code="none of theirs"), field="code")
    await refused(simulators.control.arm(name, "reset", next=1, at="the moon"), field="at")


@every
async def test_its_clock_runs_ahead_and_dates_what_comes(
    simulators: Simulators, receiver: WebhookReceiver, name: str
) -> None:
    before = datetime.fromisoformat((await simulators.control.state(name))["now"])
    await simulators.control.advance(name, 3 * 86_400)
    message_id = await send_through_adapter(name, simulators, receiver)
    dated = datetime.fromisoformat((await simulators.control.message(name, message_id))["at"])
    assert 3 * 86_400 <= (dated - before).total_seconds() < 3 * 86_400 + 60


@every
@pytest.mark.parametrize("seconds", [0, -1, 1e12, "a while"])
async def test_its_clock_runs_forward_only(simulators: Simulators, name: str, seconds: Any) -> None:
    before = datetime.fromisoformat((await simulators.control.state(name))["now"])
    await refused(simulators.control.advance(name, seconds), field="seconds")
    after = datetime.fromisoformat((await simulators.control.state(name))["now"])
    assert (after - before).total_seconds() < 60


@every
async def test_reset_brings_back_the_first_day(simulators: Simulators, receiver: WebhookReceiver, name: str) -> None:
    first = await simulators.control.state(name)
    await send_through_adapter(name, simulators, receiver)
    await simulators.control.arm(name, "reset", always=True)
    await simulators.control.advance(name, 86_400)
    await simulators.control.reset(name)
    again = await simulators.control.state(name)
    passed = datetime.fromisoformat(again["now"]) - datetime.fromisoformat(first["now"])
    assert passed.total_seconds() < 60
    assert {**again, "now": None, "customers": None} == {**first, "now": None, "customers": None}
    assert await simulators.control.journal(simulator=name) == []


@every
async def test_each_event_is_a_webhook_that_we_accept_and_understand(
    simulators: Simulators, receiver: WebhookReceiver, name: str
) -> None:
    await keep_still(name, simulators)
    await send_through_adapter(name, simulators, receiver)
    async with adapter(name, simulators, receiver) as provider:
        for event in (await simulators.control.state(name))["events"]:
            receiver.received.clear()
            told = await simulators.control.trigger(name, event["name"])
            assert (told["status"], told["detail"]) == (204, None)
            [webhook] = receiver.received
            headers = {key.lower(): value for key, value in webhook.headers.items()}
            raw = RawWebhook("POST", webhook.url, headers, webhook.body)
            assert provider.webhooks is not None
            provider.webhooks.verify(raw)
            [said] = provider.webhooks.parse(raw)
            assert not isinstance(said, OtherEvent) or "template" in event["name"], event


@every
async def test_an_event_takes_what_it_says_and_nothing_else(simulators: Simulators, name: str) -> None:
    await refused(simulators.control.trigger(name, "sun.rises"), 404)
    for event in (await simulators.control.state(name))["events"]:
        await refused(simulators.control.trigger(name, event["name"], colour="red"), field="colour")


async def test_no_two_providers_offer_the_same_event(simulators: Simulators) -> None:
    everything = (await simulators.control.everything())["simulators"]
    names = [event["name"] for provider in everything for event in provider["events"]]
    assert names
    assert len(names) == len(set(names))


async def test_an_event_about_a_message_concerns_the_newest_or_the_one_that_is_named(
    simulators: Simulators, receiver: WebhookReceiver
) -> None:
    await refused(simulators.control.trigger("twilio", "sms.delivered"), field="message")
    await keep_still("twilio", simulators)
    first, second = [await send_through_adapter("twilio", simulators, receiver) for _ in range(2)]
    assert (await simulators.control.trigger("twilio", "sms.failed", code=30005))["message_id"] == second
    assert (await simulators.control.trigger("twilio", "sms.delivered", message=first))["message_id"] == first
    statuses = [(one["status"], one["error_code"]) for one in await simulators.control.messages("twilio")]
    assert statuses == [("delivered", None), ("failed", 30005)]
    await refused(simulators.control.trigger("twilio", "sms.sent", message="SMnone"), field="message")


async def test_an_event_without_a_receiver_says_why_and_is_in_the_journal(
    simulators: Simulators, twilio: Client
) -> None:
    message = await sent_by_sdk(twilio, status_callback=f"http://127.0.0.1:{unused_port()}/gone")
    told = await simulators.control.trigger("twilio", "sms.delivered", message=message.sid)
    assert told["status"] is None
    assert "Cannot connect" in told["detail"]
    [entry] = await simulators.control.journal(webhook_id=told["id"])
    assert (entry["message_id"], entry["verdict"]) == (message.sid, "unreached")


async def test_a_message_without_a_callback_address_gets_no_reports(simulators: Simulators, twilio: Client) -> None:
    await sent_by_sdk(twilio)
    assert "StatusCallback" in await refused(simulators.control.trigger("twilio", "sms.sent"), field="message")


async def test_mail_is_marked_as_nothing_and_the_refusal_says_why(
    simulators: Simulators, receiver: WebhookReceiver
) -> None:
    message_id = await send_through_adapter("smtp", simulators, receiver)
    for status in ("delivered", "read", "failed"):
        words = await refused(simulators.control.report("smtp", message_id, status))
        assert words == (await simulators.control.state("smtp"))["reports"]
    await refused(simulators.control.inbound("smtp", sender="ana@example.com", text="Oi"))


async def test_a_text_that_waits_too_long_is_given_up(simulators: Simulators, receiver: WebhookReceiver) -> None:
    await simulators.control.plan_webhooks("twilio", automatic=False)
    message_id = await send_through_adapter("twilio", simulators, receiver)
    await simulators.control.advance("twilio", 35_990)
    assert (await simulators.control.message("twilio", message_id))["status"] == "queued"
    await simulators.control.advance("twilio", 10)
    shown = await simulators.control.message("twilio", message_id)
    assert (shown["status"], shown["error_code"]) == ("failed", 30036)
    [told] = await receiver.wait_for("/webhooks/twilio", 1)
    assert (told.status, told.fields["ErrorCode"]) == ("failed", "30036")


async def test_what_was_given_up_is_not_delivered_afterwards(simulators: Simulators, receiver: WebhookReceiver) -> None:
    await simulators.control.plan_webhooks("twilio", delays=[0.2, 0])
    given_up = await send_through_adapter("twilio", simulators, receiver)
    await simulators.control.advance("twilio", 36_000)
    delivered = await send_through_adapter("twilio", simulators, receiver)
    # The later message's life ends after the earlier one's would have.
    await until(
        lambda: simulators.control.message("twilio", delivered), lambda shown: bool(shown["status"] == "delivered")
    )
    assert (await simulators.control.message("twilio", given_up))["history"] == ["queued", "failed"]


# ─── pages ──────────────────────────────────────────────────────────────────

FORM = {"content-type": "application/x-www-form-urlencoded"}
EVIL = "https://evil.example"
PAGES: list[dict[str, str]] = [
    {"origin": EVIL, "sec-fetch-site": "cross-site"},
    {"origin": EVIL},
    {"origin": "null"},
    {"origin": "http://localhost:1"},
    {"sec-fetch-site": "cross-site"},
    # Another port of this machine is another page.
    {"sec-fetch-site": "same-site"},
    # Another host name that leads here.
    {"host": "evil.example"},
    {"host": "evil.example", "origin": "http://evil.example", "sec-fetch-site": "same-origin"},
    {"host": "127.0.0.1.evil.example"},
    {"host": ""},
]


def control_routes() -> list[tuple[str, str]]:
    """Every route of the control API that may change something."""
    journal = Journal()
    routes = Control({}, journal, dict).routes()
    filled = {"{company}": "twilio", "{id}": "x", "{action}": "x", "{event}": "sms.inbound"}
    found = []
    for route in routes:
        path = route.path
        for gap, value in filled.items():
            path = path.replace(gap, value)
        if route.method != "GET":
            found.append((route.method, path))
    return found


async def test_no_page_of_another_site_and_no_form_changes_anything_at_any_simulator(
    simulators: Simulators, twilio: Client
) -> None:
    await sent_by_sdk(twilio)
    before = await simulators.control.state("twilio")
    assert before["messages"] == 1
    routes = control_routes()
    assert len(routes) > 12
    async with httpx.AsyncClient(base_url=simulators.announced["http"], trust_env=False) as http:

        async def status(method: str, path: str, headers: dict[str, str]) -> int:
            return (await http.request(method, path, headers=headers, content=b"{}")).status_code

        for method, path in routes:
            for page in PAGES:
                given = {"content-type": "application/json", **page}
                assert await status(method, path, given) in (400, 403), (method, path, page)
            for form in ("application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "text/plain"):
                assert await status(method, path, {"content-type": form}) == 403, (method, path, form)
        providers = [
            f"/{name}/{path}" for name in SIMULATED for path in ("", "x", "v1/jwks", "2010-04-01/Accounts.json")
        ]
        for path in providers:
            for page in PAGES:
                assert await status("POST", path, {**FORM, **page}) in (400, 403), (path, page)
                assert await status("GET", path, page) in (400, 403), (path, page)
        # Nothing changed, and nothing was written down of any of it but our own message.
        assert await simulators.control.state("twilio") | {"now": 0} == before | {"now": 0}
        # Programs, a page of the simulators themselves, and a followed link may.
        for page in ({}, {"origin": simulators.announced["http"], "sec-fetch-site": "same-origin"}):
            assert await status("POST", "/sim/api/reset", {"content-type": "application/json", **page}) == 200
        assert await status("GET", "/sim/api", {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}) == 200
        assert await status("GET", "/sim/api", {"host": "evil.example"}) == 403
