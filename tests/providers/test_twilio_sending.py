"""Sending an SMS through Twilio: against the simulator, and against servers with unexpected answers."""

import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

import integrations.twilio
from core.errors import (
    FailureParty,
    FailureReason,
    OutcomeUnknown,
    ProviderError,
    ProviderMisconfigured,
    ProviderRejected,
    ProviderUnavailable,
)
from core.ports import IntegrationContext, RawWebhook, Receipt, Reference
from integrations.http_client import HttpClient
from integrations.provider_errors import Kind
from integrations.twilio import connect
from integrations.twilio.adapter import TwilioSender
from integrations.twilio.errors import MEANINGS
from integrations.twilio.probe import TwilioProbe
from integrations.twilio.webhook import TwilioWebhooks
from tests.providers.factories import ANA, REFERENCE, WEBHOOK_URL, sms, twilio_settings
from tests.providers.servers import Connection, scripted_server
from tests.servers import ACCOUNT, KEY, NUMBER, SERVICE, TOKEN, Simulators, WebhookReceiver

CREATED = (Path(integrations.twilio.__file__).parent / "fixtures" / "created.json").read_bytes()
ERRORS = {
    Kind.REJECTED: ProviderRejected,
    Kind.UNAVAILABLE: ProviderUnavailable,
    Kind.UNKNOWN: OutcomeUnknown,
    Kind.MISCONFIGURED: ProviderMisconfigured,
}
Sending = Callable[..., Awaitable[Receipt]]


@pytest.fixture
def send(simulators: Simulators, http: HttpClient) -> Sending:
    """Send through the simulator, with other settings where given."""

    async def send(to: str = ANA, webhook_url: str = WEBHOOK_URL, **changes: str) -> Receipt:
        return await TwilioSender(twilio_settings(simulators.twilio_base, **changes), http, webhook_url).send(sms(to))

    return send


@asynccontextmanager
async def answering(status: int, body: bytes, *headers: str) -> AsyncIterator[str]:
    """A Twilio with one answer to everything; gives its address."""

    async def answer(line: Connection) -> None:
        await line.request()
        await line.answer(status, body, *headers)

    async with scripted_server(answer) as wire:
        yield wire.base


async def failure(sending: Awaitable[Any]) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        await sending
    assert caught.value.provider == "twilio"
    return caught.value


async def test_an_sms_goes_out_with_the_number(simulators: Simulators, send: Sending) -> None:
    receipt = await send()
    kept = await simulators.control.message("twilio", str(receipt.provider_message_id))
    assert (kept["to"], kept["from"], kept["body"]) == (ANA, NUMBER, "Olá, Ana!")
    assert receipt.detail == "queued"


async def test_a_messaging_service_sends_in_place_of_the_number(simulators: Simulators, send: Sending) -> None:
    receipt = await send(TWILIO_MESSAGING_SERVICE_SID=SERVICE)
    kept = await simulators.control.message("twilio", str(receipt.provider_message_id))
    assert (kept["messaging_service_sid"], receipt.detail) == (SERVICE, "accepted")
    assert "From" not in parse_qs((await simulators.control.journal(verdict="accepted"))[0]["body"])


async def test_an_api_key_signs_in_in_place_of_the_token(send: Sending) -> None:
    key = {"TWILIO_API_KEY_SID": KEY[0], "TWILIO_API_KEY_SECRET": KEY[1]}
    assert (await send(**key, TWILIO_AUTH_TOKEN="f" * 32)).provider_message_id


async def test_the_first_of_two_tokens_signs_in(send: Sending) -> None:
    assert (await send(TWILIO_AUTH_TOKEN=f"{TOKEN},{'f' * 32}")).provider_message_id
    assert isinstance(await failure(send(TWILIO_AUTH_TOKEN=f"{'f' * 32},{TOKEN}")), ProviderMisconfigured)


async def test_our_reference_goes_out_and_comes_back(send: Sending, receiver: WebhookReceiver) -> None:
    await send(webhook_url=f"{receiver.base}/back")
    for webhook in await receiver.wait_for("/back", 2):
        assert Reference.parse(parse_qs(urlsplit(webhook.url).query)["ref"][0]) == REFERENCE


async def test_twilio_is_asked_to_call_again_when_we_cannot_take_a_report(
    simulators: Simulators, send: Sending, receiver: WebhookReceiver
) -> None:
    await simulators.control.plan_webhooks("twilio", automatic=False)
    receipt = await send(webhook_url=f"{receiver.base}/again")
    receiver.answers = [503, 503]
    await simulators.control.report("twilio", str(receipt.provider_message_id), "sent")
    webhooks = TwilioWebhooks(twilio_settings())
    for tried in await receiver.wait_for("/again", 3):
        headers = {name.lower(): value for name, value in tried.headers.items()}
        webhooks.verify(RawWebhook("POST", tried.url, headers, tried.body))


async def test_what_a_new_twilio_answers_is_read(http: HttpClient) -> None:
    async with answering(201, CREATED) as base:
        receipt = await TwilioSender(twilio_settings(base), http, WEBHOOK_URL).send(sms())
    sid = "SM" + "b" * 32
    assert receipt == Receipt(sid, "accepted", answer=f"201 sid={sid} status=accepted num_segments=0")


async def test_a_code_means_at_the_wire_what_the_table_says(simulators: Simulators, send: Sending) -> None:
    # One of each meaning: tests/providers/test_codes.py reads them all.
    for code in {meaning: code for code, meaning in MEANINGS.items()}.values():
        await simulators.control.arm("twilio", "code", next=1, code=code)
        error = await failure(send())
        meaning = MEANINGS[code]
        assert type(error) is ERRORS[meaning.kind]
        assert (error.reason, error.party, error.message) == (meaning.reason, meaning.party, meaning.message)
        assert (error.provider_code, error.scope or meaning.scope) == (code, meaning.scope or error.scope)


# https://www.twilio.com/docs/api/errors: what the table must not lose.
DOCUMENTED_CODES = [
    ("20003", Kind.MISCONFIGURED, None),
    ("20429", Kind.UNAVAILABLE, FailureReason.RATE_LIMITED),
    ("20500", Kind.UNKNOWN, None),
    ("20503", Kind.UNKNOWN, None),
    ("21211", Kind.REJECTED, FailureReason.INVALID_RECIPIENT),
    ("21212", Kind.MISCONFIGURED, None),
    ("21408", Kind.MISCONFIGURED, None),
    ("21606", Kind.MISCONFIGURED, None),
    ("21608", Kind.MISCONFIGURED, None),
    ("21610", Kind.REJECTED, FailureReason.CONSENT_WITHDRAWN),
    ("21611", Kind.UNAVAILABLE, FailureReason.RATE_LIMITED),
    ("21612", Kind.REJECTED, FailureReason.UNREACHABLE),
    ("21614", Kind.REJECTED, FailureReason.INVALID_RECIPIENT),
    ("21617", Kind.REJECTED, FailureReason.CONTENT_REJECTED),
    ("21730", Kind.UNAVAILABLE, None),
    ("30001", Kind.UNAVAILABLE, FailureReason.RATE_LIMITED),
    ("30004", Kind.REJECTED, FailureReason.BLOCKED),
    ("30005", Kind.REJECTED, FailureReason.INVALID_RECIPIENT),
    ("30007", Kind.REJECTED, FailureReason.CONTENT_REJECTED),
    ("30010", Kind.REJECTED, None),
    ("30034", Kind.MISCONFIGURED, None),
]


def test_the_table_agrees_with_twilio(subtests: pytest.Subtests) -> None:
    for code, kind, reason in DOCUMENTED_CODES:
        with subtests.test(code):
            assert MEANINGS[code].kind is kind
            assert reason in (None, MEANINGS[code].reason)


@pytest.mark.parametrize("form", ["seconds", "date"])
async def test_too_many_requests_come_back_when_asked_to(simulators: Simulators, send: Sending, form: str) -> None:
    await simulators.control.arm("twilio", "rate_limit", next=1, retry_after=60, retry_after_as=form)
    error = await failure(send())
    assert isinstance(error, ProviderUnavailable)
    assert 55 < (error.retry_after or 0) <= 60


@pytest.mark.parametrize(
    ("kind", "accepted"),
    [(kind, accepted) for kind in ("server_error", "timeout", "reset", "garbage") for accepted in (False, True)],
)
async def test_what_may_have_been_taken_is_unknown(
    simulators: Simulators, hasty: HttpClient, kind: str, accepted: bool
) -> None:
    await simulators.control.arm("twilio", kind, next=1, accepted=accepted)
    sender = TwilioSender(twilio_settings(simulators.twilio_base), hasty, WEBHOOK_URL)
    assert isinstance(await failure(sender.send(sms())), OutcomeUnknown)
    assert len(await simulators.control.messages("twilio")) == accepted


UNEXPECTED_ANSWERS = [
    (200, b"<html>Welcome</html>", OutcomeUnknown, "200"),
    (201, b"<html>Welcome</html>", OutcomeUnknown, "201"),
    (201, CREATED[:200], OutcomeUnknown, "201"),
    (201, b'{"sid": null}', OutcomeUnknown, "201"),
    (201, b'{"sid": "\\ud800"}', OutcomeUnknown, "201"),
    (201, b'["sid"]', OutcomeUnknown, "201"),
    (201, b"[" * 100_000, OutcomeUnknown, "201"),
    (201, b"\xff\xfe", OutcomeUnknown, "201"),
    (202, CREATED, OutcomeUnknown, "202"),
    (204, b"", OutcomeUnknown, "204"),
    (302, b"", ProviderMisconfigured, "302"),
    (400, b"<html>Bad Request</html>", ProviderRejected, "400"),
    (400, b'{"code": 29999}', ProviderRejected, "29999"),
    (400, b'{"code": "21211", "type": "about:blank"}', ProviderRejected, "21211"),
    (400, b'{"code": true}', ProviderRejected, "400"),
    (401, b"", ProviderMisconfigured, "401"),
    (401, b'{"code": 70051}', ProviderMisconfigured, "70051"),
    (403, b'{"code": 20006}', ProviderMisconfigured, "20006"),
    (404, b"<html>Not Found</html>", ProviderMisconfigured, "404"),
    (407, b"", ProviderMisconfigured, "407"),
    (408, b"", OutcomeUnknown, "408"),
    (429, b"", ProviderUnavailable, "429"),
    (429, b'{"code": 14107}', ProviderUnavailable, "14107"),
    (500, b"<html>oops</html>", OutcomeUnknown, "500"),
    (502, b"", OutcomeUnknown, "502"),
    (503, b'{"code": 20503}', OutcomeUnknown, "20503"),
    (503, b'{"code": 21730}', ProviderUnavailable, "21730"),
    (504, b"", OutcomeUnknown, "504"),
]


async def test_an_unexpected_answer_is_classified_by_its_status(subtests: pytest.Subtests, http: HttpClient) -> None:
    for status, body, error, code in UNEXPECTED_ANSWERS:
        with subtests.test(f"{status}: {body!r}"):
            async with answering(status, body) as base:
                found = await failure(TwilioSender(twilio_settings(base), http, WEBHOOK_URL).send(sms()))
            assert (type(found), found.provider_code) == (error, code)


async def test_a_twilio_out_of_reach_is_unavailable(http: HttpClient) -> None:
    error = await failure(TwilioSender(twilio_settings(), http, WEBHOOK_URL).send(sms()))
    assert isinstance(error, ProviderUnavailable)


async def test_no_error_contains_a_secret_or_a_number(send: Sending, simulators: Simulators) -> None:
    await simulators.control.arm("twilio", "code", next=1, code="21211", text=f"{ANA} {TOKEN}")
    error = await failure(send())
    told = f"{error!r} {error} {error.args} {vars(error)}"
    assert TOKEN not in told
    assert ANA not in told


async def test_an_integration_at_work_shows_no_secret(simulators: Simulators) -> None:
    settings = twilio_settings(simulators.twilio_base, TWILIO_API_KEY_SID=KEY[0], TWILIO_API_KEY_SECRET=KEY[1])
    connected = connect(settings, IntegrationContext(WEBHOOK_URL))
    shown = f"{connected!r} {settings!r} {settings.model_dump_json()}"
    basic = base64.b64encode(f"{KEY[0]}:{KEY[1]}".encode()).decode()
    assert not [secret for secret in (TOKEN, KEY[1], basic) if secret in shown]
    await connected.close()


async def test_a_healthy_account_has_no_findings(simulators: Simulators, http: HttpClient) -> None:
    settings = twilio_settings(simulators.twilio_base, TWILIO_API_KEY_SID=KEY[0], TWILIO_API_KEY_SECRET=KEY[1])
    assert await TwilioProbe(settings, http).check() == []
    asked = await simulators.control.journal(simulator="twilio")
    assert [(entry["method"], entry["verdict"]) for entry in asked] == [("GET", "answered")] * 2
    assert asked[0]["path"].endswith(f"/Accounts/{ACCOUNT}.json")


@pytest.mark.parametrize(
    "wrong",
    [
        {"TWILIO_AUTH_TOKEN": "f" * 32},
        {"TWILIO_ACCOUNT_SID": "AC" + "f" * 32},
        {"TWILIO_API_KEY_SID": KEY[0], "TWILIO_API_KEY_SECRET": "wrong"},
    ],
)
async def test_wrong_credentials_are_found(simulators: Simulators, http: HttpClient, wrong: dict[str, str]) -> None:
    findings = await TwilioProbe(twilio_settings(simulators.twilio_base, **wrong), http).check()
    assert [finding.code for finding in findings] == ["TWILIO_REFUSES_US"]
    assert next(iter(wrong)) in findings[0].fix


@pytest.mark.parametrize(
    ("status", "body", "code"),
    [
        (200, json.dumps({"status": "suspended"}).encode(), "TWILIO_ACCOUNT_NOT_ACTIVE"),
        (200, b"<html>", "TWILIO_ACCOUNT_NOT_ACTIVE"),
        (200, b"[]", "TWILIO_ACCOUNT_NOT_ACTIVE"),
        (204, b"", "TWILIO_UNREACHABLE"),
        (302, b"", "TWILIO_REFUSES_US"),
        (429, b"", "TWILIO_UNREACHABLE"),
        (503, b"", "TWILIO_UNREACHABLE"),
    ],
)
async def test_an_account_that_is_not_well_is_found(http: HttpClient, status: int, body: bytes, code: str) -> None:
    async with answering(status, body) as base:
        findings = await TwilioProbe(twilio_settings(base), http).check()
    assert [finding.code for finding in findings] == [code]


async def test_a_twilio_out_of_reach_is_found(http: HttpClient) -> None:
    findings = await TwilioProbe(twilio_settings(), http).check()
    assert [finding.code for finding in findings] == ["TWILIO_UNREACHABLE"]


def test_each_error_names_the_party_that_can_fix_it() -> None:
    assert all(
        (meaning.kind is Kind.MISCONFIGURED) <= (meaning.party is FailureParty.OPERATOR)
        for meaning in MEANINGS.values()
    )
