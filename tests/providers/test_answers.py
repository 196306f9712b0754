"""What is kept of a provider's answer: enough to understand it, and no personal data."""

import base64
import json
from collections.abc import AsyncIterator, Awaitable, Mapping
from contextlib import asynccontextmanager

import pytest

from core.errors import ProviderError
from core.ports import Receipt
from integrations.http_client import HttpClient
from integrations.smtp.adapter import SmtpSender
from integrations.smtp.connections import ConnectionPool
from integrations.smtp.errors import redacted
from integrations.twilio.adapter import TwilioSender
from integrations.whatsapp.adapter import GraphApi, WhatsAppSender
from tests.providers.factories import (
    ANA,
    ANA_AT_HOME,
    WEBHOOK_URL,
    email,
    sms,
    smtp_settings,
    twilio_settings,
    whatsapp,
    whatsapp_settings,
)
from tests.providers.servers import Connection, scripted_server, smtp_relay
from tests.servers import TOKEN, WHATSAPP

TEXT = "Olá, Ana!"
SECRET = WHATSAPP["WHATSAPP_ACCESS_TOKEN"]
PLANTED = f"{ANA} {ANA[1:]} {ANA_AT_HOME} {TEXT} {TOKEN} {SECRET}"
PRIVATE = (ANA[1:], ANA[3:], ANA_AT_HOME, "ana@", TEXT, "Ana", TOKEN, SECRET)
SID = "SM" + "b" * 32
WAMID = "wamid." + base64.b64encode(f"\x1c\x18\r{ANA[1:]}\x15\x02\0".encode()).decode()


async def kept(sending: Awaitable[Receipt]) -> str | None:
    """What is kept of the answer, for any outcome."""
    try:
        return (await sending).answer
    except ProviderError as error:
        return error.answer


@asynccontextmanager
async def answering(status: int, body: bytes, *headers: str) -> AsyncIterator[str]:
    async def answer(line: Connection) -> None:
        await line.request()
        await line.answer(status, body, *headers)

    async with scripted_server(answer) as wire:
        yield wire.base


def everywhere(names: Mapping[str, object]) -> list[dict[str, object]]:
    """The same object with personal data in each of its fields, and in an unknown one."""
    return [{**names, name: PLANTED} for name in [*names, "unknown"]] + [
        {**names, name: word} for name in names for word in (ANA[1:], int(ANA[1:]), ANA_AT_HOME, TEXT, SECRET, [ANA])
    ]


TWILIO_TOOK = {"sid": SID, "status": "queued", "num_segments": "1", "price": None, "price_unit": "USD", "body": TEXT}
TWILIO_REFUSED = {
    "code": 21211,
    "message": PLANTED,
    "status": 400,
    "more_info": "https://www.twilio.com/docs/errors/21211",
}


def tells_nothing(answer: str | None) -> bool:
    assert answer is not None
    assert len(answer) <= 500
    return [word for word in PRIVATE if word in answer] == []


TWILIO_ANSWERS = [(201, body) for body in everywhere(TWILIO_TOOK)] + [
    (400, body) for body in everywhere(TWILIO_REFUSED)
]


async def test_nothing_private_is_kept_of_twilios_answers(subtests: pytest.Subtests, http: HttpClient) -> None:
    for status, body in TWILIO_ANSWERS:
        with subtests.test(f"{status}: {body}"):
            async with answering(status, json.dumps(body).encode(), f"content-type: {ANA[1:]}/{ANA_AT_HOME}") as base:
                answer = await kept(TwilioSender(twilio_settings(base), http, WEBHOOK_URL).send(sms(text=TEXT)))
            assert tells_nothing(answer)


async def test_what_twilio_says_of_a_message_is_kept(http: HttpClient) -> None:
    async with answering(201, json.dumps(TWILIO_TOOK).encode()) as base:
        took = await kept(TwilioSender(twilio_settings(base), http, WEBHOOK_URL).send(sms()))
    async with answering(400, json.dumps(TWILIO_REFUSED).encode()) as base:
        refused = await kept(TwilioSender(twilio_settings(base), http, WEBHOOK_URL).send(sms()))
    assert took == f"201 sid={SID} status=queued num_segments=1 price_unit=USD"
    assert refused == "400 status=400 code=21211 more_info=https://www.twilio.com/docs/errors/21211"


META_TOOK = {"id": WAMID, "message_status": "accepted"}
META_REFUSED = {
    "message": PLANTED,
    "type": "OAuthException",
    "code": 131026,
    "error_subcode": 2494010,
    "error_data": {"details": PLANTED},
    "fbtrace_id": "AbCdEfGhIj_1234-k",
}


def from_meta(base: str, http: HttpClient) -> WhatsAppSender:
    settings = whatsapp_settings(base)
    return WhatsAppSender(settings, GraphApi(settings, http))


META_ANSWERS = [(200, {"contacts": [{"wa_id": ANA[1:]}], "messages": [found]}) for found in everywhere(META_TOOK)] + [
    (400, {"error": found}) for found in everywhere(META_REFUSED)
]


async def test_nothing_private_is_kept_of_metas_answers(subtests: pytest.Subtests, http: HttpClient) -> None:
    for status, body in META_ANSWERS:
        with subtests.test(f"{status}: {body}"):
            async with answering(status, json.dumps(body).encode()) as base:
                answer = await kept(from_meta(base, http).send(whatsapp()))
            assert tells_nothing(answer)
            assert WAMID.removeprefix("wamid.") not in str(answer)


async def test_what_meta_says_of_a_message_is_kept(http: HttpClient) -> None:
    async with answering(400, json.dumps({"error": META_REFUSED}).encode()) as base:
        refused = await kept(from_meta(base, http).send(whatsapp()))
    assert refused == ("400 code=131026 error_subcode=2494010 type=OAuthException fbtrace_id=AbCdEfGhIj_1234-k")


@pytest.mark.parametrize("status", [200, 201, 403, 502])
async def test_of_an_unreadable_answer_its_size_is_kept(http: HttpClient, status: int) -> None:
    page = f"<html>{PLANTED}</html>".encode()
    expected = f"{status}, {len(page)} bytes, text/html"
    async with answering(status, page, "content-type: text/html; charset=utf-8") as base:
        assert await kept(TwilioSender(twilio_settings(base), http, WEBHOOK_URL).send(sms())) == expected
    async with answering(status, page, "content-type: text/html; charset=utf-8") as base:
        assert await kept(from_meta(base, http).send(whatsapp())) == expected


async def test_where_no_answer_came_none_is_kept(http: HttpClient) -> None:
    assert await kept(TwilioSender(twilio_settings(), http, WEBHOOK_URL).send(sms())) is None


@pytest.mark.parametrize(
    ("stage", "reply", "expected"),
    [
        ("end_of_data", "250 2.0.0 Ok: queued as 4bX9qZ1", "250 2.0.0 Ok: queued as …"),
        ("end_of_data", f"250 Ok, {PLANTED}", "250 Ok, …"),
        ("end_of_data", f"554 5.7.1 Rejected: {PLANTED}", "554 5.7.1 Rejected: …"),
        ("end_of_data", f"451 {PLANTED}\r\n", "451 …"),
        ("rcpt", f"550 5.1.1 <{ANA_AT_HOME}>: User unknown", "550 5.1.1 … User unknown"),
        ("rcpt", f"452 4.2.2 {PLANTED} mailbox full", "452 4.2.2 … mailbox full"),
        ("mail", f"550 5.7.1 {PLANTED}", "550 5.7.1 …"),
        ("auth", f"535 5.7.8 {PLANTED} is wrong", "535 5.7.8 … is wrong"),
        ("connect", f"554 No, {PLANTED}", "554 No, …"),
        ("connect", f"421 4.3.2 {PLANTED}", "421 4.3.2 …"),
    ],
)
async def test_of_an_smtp_reply_only_standard_phrases_are_kept(stage: str, reply: str, expected: str) -> None:
    async with smtp_relay(**{stage: reply}) as relay:
        settings = smtp_settings(relay.port, SMTP_TLS="none")
        connections = ConnectionPool(settings)
        answer = await kept(SmtpSender(settings, connections).send(email(plain_text=TEXT)))
        await connections.close()
    assert answer == expected
    assert tells_nothing(answer)


async def test_of_an_unreadable_reply_nothing_is_kept() -> None:
    async with smtp_relay(end_of_data=f"what {PLANTED}") as relay:
        settings = smtp_settings(relay.port, SMTP_TLS="none")
        connections = ConnectionPool(settings)
        assert await kept(SmtpSender(settings, connections).send(email())) is None
        await connections.close()
    assert redacted(-1, PLANTED) == f"no code, {len(PLANTED)} characters"


def test_a_long_reply_is_cut() -> None:
    assert len(redacted(550, "5.1.1 " + "user unknown " * 100)) == 500
