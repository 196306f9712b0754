"""What the promises need to know of each company at work: an account, a signature, and how its bad days look.

An integration that comes to work without a line here fails `test_every_integration_at_work_is_held_to_the_promises`.
"""

import base64
import hmac
import json
import socket
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import parse_qsl

import pytest
from twilio.request_validator import RequestValidator

from core.ports import Connected, Integration, OutboundMessage, RawWebhook, Surroundings
from core.settings import IntegrationSettings, load
from integrations.http_client import HttpClient
from integrations.registry import all_integrations
from integrations.smtp.adapter import SmtpSender
from tests.providers.conftest import email, sms, whatsapp
from tests.providers.relay import RESET, SILENCE, relaying
from tests.providers.wire import Line, listening
from tests.running import ACCOUNT, CLERK, NUMBER, PASSWORD, TOKEN, USER, WHATSAPP, Simulators


class Trouble(StrEnum):
    """The bad days every company has."""

    REFUSED = "it says no to the message"
    MISCONFIGURED = "it does not let us in"
    LATER = "it asks us to come again"
    LOST = "it takes the message and its answer is lost"
    SILENT = "it says nothing at all"
    AWAY = "nobody is there"


Facing = Callable[[Trouble], AbstractAsyncContextManager[Mapping[str, str]]]
"""Plays a company in trouble; gives the settings that lead to it."""


@dataclass(frozen=True)
class Company:
    """One company: `sign` makes a webhook it would have sent, `fixtures` says which files are webhooks.

    `simulated` gives the settings that lead to its simulator.
    """

    settings: Mapping[str, str]
    message: OutboundMessage
    simulated: Callable[[Simulators], Mapping[str, str]]
    facing: Facing
    hurry: Callable[[pytest.MonkeyPatch], None]
    sign: Callable[[bytes, str], RawWebhook] | None = None
    signing_secret: str = ""
    fixtures: str = ""
    stranger: str = "f" * 32


def hurry_http(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the one HTTP client hardly any patience."""
    monkeypatch.setattr(HttpClient.__init__, "__kwdefaults__", {"connect_timeout": 0.2, "total_timeout": 0.3})


def hurry_smtp(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same for mail."""
    monkeypatch.setattr(SmtpSender.__init__, "__kwdefaults__", {"preparing": 0.3, "confirming": 0.3})


def over_http(base: str, answers: Mapping[Trouble, tuple[int, object]]) -> Facing:
    """A company that speaks HTTP; `base` is the variable of its address, `answers` its words."""

    @asynccontextmanager
    async def facing(trouble: Trouble) -> AsyncIterator[Mapping[str, str]]:
        async def talk(line: Line) -> None:
            await line.request()
            if trouble is Trouble.LOST:
                line.reset()
            elif trouble is Trouble.SILENT:
                await line.request()
            else:
                status, body = answers[trouble]
                await line.answer(status, json.dumps(body).encode())

        async with listening(talk) as wire:
            yield {base: wire.base if trouble is not Trouble.AWAY else f"http://127.0.0.1:{nobody()}"}

    return facing


def nobody() -> int:
    """A port on which nobody listens."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@asynccontextmanager
async def a_relay(trouble: Trouble) -> AsyncIterator[Mapping[str, str]]:
    replies: Mapping[Trouble, Mapping[str, str]] = {
        Trouble.REFUSED: {"rcpt": "550 5.1.1 No such user"},
        Trouble.MISCONFIGURED: {"auth": "535 5.7.8 Wrong password"},
        Trouble.LATER: {"mail": "451 4.3.0 Come again"},
        Trouble.LOST: {"end_of_data": RESET},
        Trouble.SILENT: {"connect": SILENCE},
    }
    async with relaying(**replies.get(trouble, {})) as relay:
        yield {"SMTP_PORT": str(nobody() if trouble is Trouble.AWAY else relay.port)}


def webhook_url(name: str) -> str:
    return f"https://api.example.com/webhooks/{name}"


def from_twilio(body: bytes, secret: str) -> RawWebhook:
    url, fields = webhook_url("twilio"), dict(parse_qsl(body.decode(), keep_blank_values=True))
    signature = str(RequestValidator(secret).compute_signature(url, fields))
    headers = {"content-type": "application/x-www-form-urlencoded", "x-twilio-signature": signature}
    return RawWebhook("POST", url, headers, body)


def from_meta(body: bytes, secret: str) -> RawWebhook:
    signature = f"sha256={hmac.new(secret.encode(), body, 'sha256').hexdigest()}"
    headers = {"content-type": "application/json", "x-hub-signature-256": signature}
    return RawWebhook("POST", webhook_url("whatsapp"), headers, body)


def from_clerk(body: bytes, secret: str) -> RawWebhook:
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


COMPANIES: Mapping[str, Company] = {
    "clerk": Company(
        settings={**CLERK, "CLERK_API_BASE": "http://127.0.0.1:9"},
        message=None,
        simulated=lambda running: {"CLERK_API_BASE": running.clerk_base},
        facing=over_http(
            "CLERK_API_BASE",
            {
                Trouble.REFUSED: (404, {"errors": [{"code": "resource_not_found"}]}),
                Trouble.MISCONFIGURED: (401, {"errors": [{"code": "authentication_invalid"}]}),
                Trouble.LATER: (429, {"errors": [{"code": "too_many_requests"}]}),
            },
        ),
        hurry=hurry_http,
        sign=from_clerk,
        signing_secret="CLERK_WEBHOOK_SIGNING_SECRET",
        fixtures="*.json",
        stranger=f"whsec_{'f' * 32}",
    ),
    "smtp": Company(
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
        facing=a_relay,
        hurry=hurry_smtp,
    ),
    "twilio": Company(
        settings={
            "TWILIO_ACCOUNT_SID": ACCOUNT,
            "TWILIO_AUTH_TOKEN": TOKEN,
            "TWILIO_PHONE_NUMBER": NUMBER,
            "TWILIO_API_BASE": "http://127.0.0.1:9",
        },
        message=sms(),
        simulated=lambda running: {"TWILIO_API_BASE": running.twilio_base},
        facing=over_http(
            "TWILIO_API_BASE",
            {
                Trouble.REFUSED: (400, {"code": 21211}),
                Trouble.MISCONFIGURED: (401, {"code": 20003}),
                Trouble.LATER: (429, {"code": 20429}),
            },
        ),
        hurry=hurry_http,
        sign=from_twilio,
        signing_secret="TWILIO_AUTH_TOKEN",
        fixtures="*.form",
    ),
    "whatsapp": Company(
        settings={**WHATSAPP, "WHATSAPP_API_BASE": "http://127.0.0.1:9"},
        message=whatsapp(),
        simulated=lambda running: {"WHATSAPP_API_BASE": running.whatsapp_base},
        facing=over_http(
            "WHATSAPP_API_BASE",
            {
                Trouble.REFUSED: (400, {"error": {"code": 131026}}),
                Trouble.MISCONFIGURED: (401, {"error": {"code": 190}}),
                Trouble.LATER: (429, {"error": {"code": 130429}}),
            },
        ),
        hurry=hurry_http,
        sign=from_meta,
        signing_secret="WHATSAPP_APP_SECRET",
        fixtures="*.json",
    ),
}
AT_WORK = [name for name, card in all_integrations().items() if card.connect is not None]
SENDING = [name for name in AT_WORK if all_integrations()[name].channels]
REPORTING = [name for name in AT_WORK if all_integrations()[name].has_webhooks]
LOOKING_UP = ["twilio"]


def card_of(name: str) -> Integration:
    return all_integrations()[name]


def settings_of(name: str, **changes: str) -> IntegrationSettings:
    loaded = load(card_of(name).settings, {**COMPANIES[name].settings, **changes})
    assert loaded.value is not None, loaded.problems
    return loaded.value


def at_work(name: str, **changes: str) -> Connected:
    """The integration put to work, as the house does it."""
    connect = card_of(name).connect
    assert connect is not None
    return connect(settings_of(name, **changes), Surroundings(webhook_url(name)))
