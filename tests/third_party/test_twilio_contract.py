"""Every request to Twilio against its published contract: Prism refuses what the contract does not allow."""

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

import httpx

from core.errors import ProviderError
from core.ports import Channel, LookupRequest, TextContent
from integrations.http_client import HttpClient, HttpResponse
from integrations.twilio.adapter import TwilioSender
from integrations.twilio.lookup import MessageList, TwilioLookup
from integrations.twilio.probe import TwilioProbe
from integrations.twilio.settings import Settings
from tests.providers.factories import ANA, REFERENCE, sms, twilio_settings
from tests.servers import ACCOUNT, KEY, NUMBER, SERVICE, TOKEN, Simulators

WEBHOOKS = ("https://api.example.com/webhooks/twilio", "https://api.example.com:8443/base/webhooks/twilio")
SID = "SM" + "0" * 32
SENDERS: Sequence[Mapping[str, str | None]] = (
    {},
    {"TWILIO_PHONE_NUMBER": "12345"},
    {"TWILIO_PHONE_NUMBER": None, "TWILIO_MESSAGING_SERVICE_SID": SERVICE},
    {"TWILIO_API_KEY_SID": KEY[0], "TWILIO_API_KEY_SECRET": KEY[1]},
)
TEXTS = ("Olá, Ana! Sua consulta é amanhã às 10h. 🙂", 'a=1&b=2+3%\n<tag>\t"q"', "x" * 1_600, " ")


@dataclass(frozen=True)
class RecordedRequest:
    """One request and the answer of the contract's server."""

    method: str
    url: str
    answer: HttpResponse

    @property
    def violations(self) -> list[str]:
        """What the contract does not allow in the request; its own example answers break it too, which is ignored."""
        reported = self.answer.headers.get("sl-violations") or "[]"
        found = json.loads(reported)
        if self.answer.status >= 300:
            found += json.loads(self.answer.body).get("validation") or [{"location": ["request"]}]
        return [str(one) for one in found if one["location"][0] != "response"]


class RecordingClient(HttpClient):
    """Our HTTP client, which records requests and answers."""

    def __init__(self) -> None:
        super().__init__("twilio")
        self.requests: list[RecordedRequest] = []

    async def call(self, method: str, url: str, **more: Any) -> HttpResponse:
        answer = await super().call(method, url, **more)
        query = more.get("query") or {}
        self.requests.append(RecordedRequest(method, f"{url}?{query}" if query else url, answer))
        return answer


SendRequest = Callable[[Settings, HttpClient], Awaitable[object]]


async def requests_for(base: str, send: SendRequest, **settings: str | None) -> list[RecordedRequest]:
    """Send a request to the contract's server; how its example answers are read is not checked here."""
    http = RecordingClient()
    try:
        given = {name: value for name, value in settings.items() if value is not None}
        chosen = twilio_settings(base, **given)
        if "TWILIO_PHONE_NUMBER" in settings and settings["TWILIO_PHONE_NUMBER"] is None:
            chosen = chosen.model_copy(update={"phone_number": None})
        with suppress(ProviderError):
            await send(chosen, http)
    finally:
        await http.close()
    assert http.requests
    return http.requests


def lookup(settings: Settings, http: HttpClient) -> TwilioLookup:
    return TwilioLookup(MessageList(settings, http))


def sought(sid: str | None = None, to: str = ANA) -> LookupRequest:
    return LookupRequest(REFERENCE, Channel.SMS, to, TextContent("Olá"), datetime.now(UTC), sid)


async def test_every_message_is_allowed(twilio_contract: str) -> None:
    for sender in SENDERS:
        for text in TEXTS:
            for webhook in WEBHOOKS:
                requests = await requests_for(
                    twilio_contract,
                    lambda settings, http, text=text, url=webhook: TwilioSender(settings, http, url).send(
                        sms(ANA, text)
                    ),
                    **sender,
                )
                assert [one.method for one in requests] == ["POST"]
                assert [one.violations for one in requests] == [[]], requests


async def test_every_look_up_is_allowed(twilio_contract: str) -> None:
    questions: Sequence[SendRequest] = (
        lambda settings, http: lookup(settings, http).find(sought(SID)),
        lambda settings, http: lookup(settings, http).find(sought()),
        lambda settings, http: lookup(settings, http).find(sought(to="12345")),
        lambda settings, http: lookup(settings, http).count(date(2026, 11, 29)),
        lambda settings, http: lookup(settings, http).count(date(2024, 2, 29)),
        lambda settings, http: TwilioProbe(settings, http).check(),
    )
    for sender in SENDERS:
        for question in questions:
            requests = await requests_for(twilio_contract, question, **sender)
            assert [one for one in requests if one.violations] == []


MESSAGES = f"/2010-04-01/Accounts/{ACCOUNT}/Messages.json"
# The simulator must refuse what the contract refuses: otherwise tests would pass that fail with Twilio.
REFUSED: Sequence[tuple[str, str, Mapping[str, str]]] = (
    ("GET", MESSAGES, {"DateSent": "2026-11-29"}),
    ("GET", MESSAGES, {"PageSize": "0"}),
    ("GET", MESSAGES, {"PageSize": "1001"}),
    ("GET", MESSAGES, {"PageSize": "many"}),
    ("GET", MESSAGES, {"Page": "-1"}),
    ("GET", MESSAGES, {"Page": "x"}),
    ("GET", "/2010-04-01/Accounts/AC1/Messages.json", {}),
    ("GET", f"/2010-04-01/Accounts/{ACCOUNT}/Messages/SM1.json", {}),
    ("GET", "/2010-04-01/Accounts/AC1.json", {}),
    ("POST", MESSAGES, {"From": NUMBER, "Body": "Oi"}),
    ("POST", MESSAGES, {"From": NUMBER, "To": ANA, "Body": "Oi", "StatusCallback": "no address"}),
    ("POST", MESSAGES, {"From": NUMBER, "To": ANA, "Body": "Oi", "ValidityPeriod": "soon"}),
    ("POST", MESSAGES, {"To": ANA, "Body": "Oi", "MessagingServiceSid": "MG1"}),
    ("POST", MESSAGES, {"From": NUMBER, "To": ANA, "Body": "Oi", "SmartEncoded": "perhaps"}),
    ("POST", MESSAGES, {"From": NUMBER, "To": ANA, "Body": "Oi", "ContentRetention": "for ever"}),
)


async def test_what_the_contract_refuses_our_simulator_refuses_too(
    twilio_contract: str, simulators: Simulators
) -> None:
    taken = []
    async with httpx.AsyncClient(auth=(ACCOUNT, TOKEN), trust_env=False) as client:
        for method, path, fields in REFUSED:
            form = {"data": fields} if method == "POST" else {"params": fields}
            theirs = await client.request(method, twilio_contract + path, **form)
            ours = await client.request(method, simulators.twilio_base + path, **form)
            assert 400 <= theirs.status_code < 500, (method, path, fields, theirs.text)
            if not ours.is_error:
                taken.append((method, path, fields))
        assert taken == []
        assert await simulators.control.messages("twilio") == []
    async with httpx.AsyncClient(trust_env=False) as stranger:
        for base in (twilio_contract, simulators.twilio_base):
            assert (await stranger.get(f"{base}{MESSAGES}")).status_code == 401
