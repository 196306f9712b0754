"""What the contract tests need to know of each provider: settings, a signature, webhook fixtures, and how it fails."""

import base64
import hmac
import json
import socket
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum
from importlib.resources import files
from urllib.parse import parse_qsl

import pytest
from twilio.request_validator import RequestValidator

from core.ports import (
    Connected,
    Integration,
    IntegrationContext,
    OutboundMessage,
    RawWebhook,
)
from core.settings import IntegrationSettings, load
from integrations.http_client import HttpClient
from integrations.registry import all_integrations
from integrations.smtp.adapter import SmtpSender
from tests.providers.factories import email, sms, whatsapp
from tests.providers.servers import RESET, SILENCE, Connection, scripted_server, smtp_relay
from tests.servers import ACCOUNT, CLERK, NUMBER, PASSWORD, TOKEN, USER, WHATSAPP, Simulators


class FailureMode(StrEnum):
    """The failures every provider has."""

    REFUSED = "it says no to the message"
    MISCONFIGURED = "it does not let us in"
    LATER = "it asks us to come again"
    LOST = "it takes the message and its answer is lost"
    SILENT = "it says nothing at all"
    AWAY = "nobody is there"


FailingProvider = Callable[[FailureMode], AbstractAsyncContextManager[Mapping[str, str]]]
"""Simulates a failing provider; gives the settings that lead to it."""


@dataclass(frozen=True)
class ProviderCase:
    """One provider: `sign` makes a webhook it would have sent, `fixtures` says which files are webhooks.

    `simulated` gives the settings that lead to its simulator.
    """

    settings: Mapping[str, str]
    message: OutboundMessage
    simulated: Callable[[Simulators], Mapping[str, str]]
    facing: FailingProvider
    hurry: Callable[[pytest.MonkeyPatch], None]
    sign: Callable[[bytes, str], RawWebhook] | None = None
    signing_secret: str = ""
    fixtures: str = ""
    stranger: str = "f" * 32


def shorten_http_timeouts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the one HTTP client hardly any patience."""
    monkeypatch.setattr(HttpClient.__init__, "__kwdefaults__", {"connect_timeout": 0.2, "total_timeout": 0.3})


def shorten_smtp_timeouts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same for mail."""
    monkeypatch.setattr(SmtpSender.__init__, "__kwdefaults__", {"preparing": 0.3, "confirming": 0.3})


def failing_http_provider(base: str, answers: Mapping[FailureMode, tuple[int, object]]) -> FailingProvider:
    """A provider with an HTTP API; `base` is the variable of its address, `answers` its answer to each failure."""

    @asynccontextmanager
    async def facing(failure_mode: FailureMode) -> AsyncIterator[Mapping[str, str]]:
        async def talk(line: Connection) -> None:
            await line.request()
            if failure_mode is FailureMode.LOST:
                line.reset()
            elif failure_mode is FailureMode.SILENT:
                await line.request()
            else:
                status, body = answers[failure_mode]
                await line.answer(status, json.dumps(body).encode())

        async with scripted_server(talk) as wire:
            yield {base: wire.base if failure_mode is not FailureMode.AWAY else f"http://127.0.0.1:{unused_port()}"}

    return facing


def unused_port() -> int:
    """A port without a listener."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@asynccontextmanager
async def failing_relay(failure_mode: FailureMode) -> AsyncIterator[Mapping[str, str]]:
    replies: Mapping[FailureMode, Mapping[str, str]] = {
        FailureMode.REFUSED: {"rcpt": "550 5.1.1 No such user"},
        FailureMode.MISCONFIGURED: {"auth": "535 5.7.8 Wrong password"},
        FailureMode.LATER: {"mail": "451 4.3.0 Come again"},
        FailureMode.LOST: {"end_of_data": RESET},
        FailureMode.SILENT: {"connect": SILENCE},
    }
    async with smtp_relay(**replies.get(failure_mode, {})) as relay:
        yield {"SMTP_PORT": str(unused_port() if failure_mode is FailureMode.AWAY else relay.port)}


def webhook_url(name: str) -> str:
    return f"https://api.example.com/webhooks/{name}"


def twilio_webhook(body: bytes, secret: str) -> RawWebhook:
    url, fields = webhook_url("twilio"), dict(parse_qsl(body.decode(), keep_blank_values=True))
    signature = str(RequestValidator(secret).compute_signature(url, fields))
    headers = {"content-type": "application/x-www-form-urlencoded", "x-twilio-signature": signature}
    return RawWebhook("POST", url, headers, body)


def whatsapp_webhook(body: bytes, secret: str) -> RawWebhook:
    signature = f"sha256={hmac.new(secret.encode(), body, 'sha256').hexdigest()}"
    headers = {"content-type": "application/json", "x-hub-signature-256": signature}
    return RawWebhook("POST", webhook_url("whatsapp"), headers, body)


def clerk_webhook(body: bytes, secret: str) -> RawWebhook:
    name, moment = "msg_2LJd4sZjGj", str(int(time.time()))
    key = base64.b64decode(secret.removeprefix("whsec_"))
    digest = hmac.digest(key, f"{name}.{moment}.".encode() + body, "sha256")
    headers = {
        "content-type": "application/json",
        "svix-id": name,
        "svix-timestamp": moment,
        "svix-signature": f"v1,{base64.b64encode(digest).decode()}",
    }
    return RawWebhook("POST", webhook_url("clerk"), headers, body)


PROVIDERS: Mapping[str, ProviderCase] = {
    "clerk": ProviderCase(
        settings={**CLERK, "CLERK_API_BASE": "http://127.0.0.1:9"},
        message=None,
        simulated=lambda running: {"CLERK_API_BASE": running.clerk_base},
        facing=failing_http_provider(
            "CLERK_API_BASE",
            {
                FailureMode.REFUSED: (404, {"errors": [{"code": "resource_not_found"}]}),
                FailureMode.MISCONFIGURED: (401, {"errors": [{"code": "authentication_invalid"}]}),
                FailureMode.LATER: (429, {"errors": [{"code": "too_many_requests"}]}),
            },
        ),
        hurry=shorten_http_timeouts,
        sign=clerk_webhook,
        signing_secret="CLERK_WEBHOOK_SIGNING_SECRET",
        fixtures="*.json",
        stranger=f"whsec_{'f' * 32}",
    ),
    "smtp": ProviderCase(
        settings={
            "SMTP_HOST": "127.0.0.1",
            "SMTP_PORT": "9",
            "SMTP_TLS": "none",
            "SMTP_USERNAME": USER,
            "SMTP_PASSWORD": PASSWORD,
            "SMTP_FROM": "Ana <ana@example.com>",
        },
        message=email(),
        simulated=lambda running: {
            "SMTP_PORT": str(running.announced["smtp"]),
            "SMTP_TLS": "starttls",
            "SMTP_CA_FILE": running.announced["ca_file"],
        },
        facing=failing_relay,
        hurry=shorten_smtp_timeouts,
    ),
    "twilio": ProviderCase(
        settings={
            "TWILIO_ACCOUNT_SID": ACCOUNT,
            "TWILIO_AUTH_TOKEN": TOKEN,
            "TWILIO_PHONE_NUMBER": NUMBER,
            "TWILIO_API_BASE": "http://127.0.0.1:9",
        },
        message=sms(),
        simulated=lambda running: {"TWILIO_API_BASE": running.twilio_base},
        facing=failing_http_provider(
            "TWILIO_API_BASE",
            {
                FailureMode.REFUSED: (400, {"code": 21211}),
                FailureMode.MISCONFIGURED: (401, {"code": 20003}),
                FailureMode.LATER: (429, {"code": 20429}),
            },
        ),
        hurry=shorten_http_timeouts,
        sign=twilio_webhook,
        signing_secret="TWILIO_AUTH_TOKEN",
        fixtures="*.form",
    ),
    "whatsapp": ProviderCase(
        settings={**WHATSAPP, "WHATSAPP_API_BASE": "http://127.0.0.1:9"},
        message=whatsapp(),
        simulated=lambda running: {"WHATSAPP_API_BASE": running.whatsapp_base},
        facing=failing_http_provider(
            "WHATSAPP_API_BASE",
            {
                FailureMode.REFUSED: (400, {"error": {"code": 131026}}),
                FailureMode.MISCONFIGURED: (401, {"error": {"code": 190}}),
                FailureMode.LATER: (429, {"error": {"code": 130429}}),
            },
        ),
        hurry=shorten_http_timeouts,
        sign=whatsapp_webhook,
        signing_secret="WHATSAPP_APP_SECRET",
        fixtures="*.json",
    ),
}
CONNECTABLE = [name for name, card in all_integrations().items() if card.connect is not None]
if without := [name for name in CONNECTABLE if name not in PROVIDERS]:
    raise LookupError(f"add a ProviderCase to {__file__} for: {', '.join(without)}")
SENDING = [name for name in CONNECTABLE if all_integrations()[name].channels]
WITH_WEBHOOKS = [name for name in CONNECTABLE if all_integrations()[name].has_webhooks]
WITH_LOOKUP = ["twilio"]


def card_of(name: str) -> Integration:
    return all_integrations()[name]


def settings_of(name: str, **changes: str) -> IntegrationSettings:
    loaded = load(card_of(name).settings, {**PROVIDERS[name].settings, **changes})
    assert loaded.value is not None, loaded.problems
    return loaded.value


def connect_provider(name: str, **changes: str) -> Connected:
    """The integration connected as the application does it."""
    connect = card_of(name).connect
    assert connect is not None
    return connect(settings_of(name, **changes), IntegrationContext(webhook_url(name)))


WEBHOOK_FIXTURES = [
    (name, one.name)
    for name in WITH_WEBHOOKS
    for one in sorted(files(f"integrations.{name}").joinpath("fixtures").iterdir(), key=lambda one: one.name)
    if one.is_file() and one.name.endswith(PROVIDERS[name].fixtures.removeprefix("*"))
]


def fixture_body(name: str, file: str) -> bytes:
    return files(f"integrations.{name}").joinpath("fixtures", file).read_bytes()


def signed_webhook(name: str, body: bytes, secret: str | None = None) -> RawWebhook:
    provider = PROVIDERS[name]
    assert provider.sign is not None
    return provider.sign(body, secret or provider.settings[provider.signing_secret])
