"""Looking up a message at Twilio: found, not found, and the failures that must not count as not found."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from core.errors import FailureReason, OutcomeUnknown, ProviderError, ProviderMisconfigured, ProviderUnavailable
from core.ports import Channel, LookupRequest, ProviderRecord, ReportedStatus, TextContent
from integrations.http_client import HttpClient
from integrations.twilio import lookup as books
from integrations.twilio.adapter import TwilioSender
from integrations.twilio.lookup import MessageList, TextMatch, TwilioLookup, compare_texts
from integrations.twilio.settings import Settings
from tests.helpers import until
from tests.providers.factories import ANA, REFERENCE, WEBHOOK_URL, sms, twilio_settings
from tests.providers.servers import Connection, ScriptedServer, scripted_server
from tests.servers import ACCOUNT, NUMBER, SERVICE, Simulators

TEXT = "Olá, Ana!"
START = datetime(2026, 11, 23, 14, 0, 0, tzinfo=UTC)


def sought(text: str = TEXT, at: datetime | None = None, sid: str | None = None) -> LookupRequest:
    return LookupRequest(REFERENCE, Channel.SMS, ANA, TextContent(text), at or datetime.now(UTC), sid)


def lookup_of(settings: Settings, http: HttpClient) -> TwilioLookup:
    return TwilioLookup(MessageList(settings, http))


@pytest.fixture
def lookup(simulators: Simulators, http: HttpClient) -> TwilioLookup:
    return lookup_of(twilio_settings(simulators.twilio_base), http)


Send = Callable[..., Awaitable[str]]


@pytest.fixture
def send(simulators: Simulators, http: HttpClient) -> Send:
    """Send through the simulator; gives Twilio's id."""

    async def send(text: str = TEXT, to: str = ANA, **changes: str) -> str:
        settings = twilio_settings(simulators.twilio_base, **changes)
        receipt = await TwilioSender(settings, http, WEBHOOK_URL).send(sms(to, text))
        return str(receipt.provider_message_id)

    return send


def named(sightings: Sequence[ProviderRecord]) -> list[str]:
    return [sighting.provider_message_id for sighting in sightings]


async def test_a_message_whose_answer_was_lost_is_found(
    simulators: Simulators, hasty: HttpClient, http: HttpClient, lookup: TwilioLookup
) -> None:
    await simulators.control.plan_webhooks("twilio", automatic=False)
    await simulators.control.arm("twilio", "reset", next=1, accepted=True)
    with pytest.raises(OutcomeUnknown):
        await TwilioSender(twilio_settings(simulators.twilio_base), hasty, WEBHOOK_URL).send(sms())
    (kept,) = await simulators.control.messages("twilio")
    (found,) = await lookup.find(sought())
    assert (found.provider_message_id, found.status, found.failure) == (kept["id"], None, None)
    assert found.created_at is not None
    assert abs(found.created_at - datetime.now(UTC)) < timedelta(seconds=30)


async def test_a_message_that_was_never_taken_is_not_found(simulators: Simulators, lookup: TwilioLookup) -> None:
    assert await lookup.find(sought()) == []
    assert await lookup.find(sought(sid="SM" + "0" * 32)) == []


async def test_nothing_else_is_found(simulators: Simulators, send: Send, lookup: TwilioLookup) -> None:
    await send("Outro texto")
    await send(to="+5511987650000")
    await simulators.control.inbound("twilio", sender=ANA, text=TEXT)
    assert await lookup.find(sought()) == []
    sid = await send()
    assert named(await lookup.find(sought())) == [sid]
    assert named(await lookup.find(sought(at=datetime.now(UTC) - timedelta(minutes=9)))) == [sid]
    for wrong in (timedelta(minutes=-11), timedelta(minutes=2)):
        assert await lookup.find(sought(at=datetime.now(UTC) + wrong)) == []


async def test_a_service_finds_its_own_before_a_number_is_chosen(
    simulators: Simulators, http: HttpClient, send: Send
) -> None:
    await simulators.control.plan_webhooks("twilio", automatic=False)
    sid = await send(TWILIO_MESSAGING_SERVICE_SID=SERVICE)
    await send()
    settings = twilio_settings(simulators.twilio_base, TWILIO_MESSAGING_SERVICE_SID=SERVICE)
    assert named(await lookup_of(settings, http).find(sought())) == [sid]


@pytest.mark.parametrize(
    ("status", "code", "found", "reason"),
    [
        ("queued", None, None, None),
        ("sending", None, None, None),
        ("sent", None, ReportedStatus.SENT, None),
        ("delivered", None, ReportedStatus.DELIVERED, None),
        ("undelivered", 30003, ReportedStatus.FAILED, FailureReason.UNREACHABLE),
        ("failed", 30007, ReportedStatus.FAILED, FailureReason.CONTENT_REJECTED),
        ("failed", None, ReportedStatus.FAILED, FailureReason.OTHER),
    ],
)
async def test_a_found_message_has_a_status_of_ours(
    simulators: Simulators,
    send: Send,
    lookup: TwilioLookup,
    status: str,
    code: int | None,
    found: ReportedStatus | None,
    reason: FailureReason | None,
) -> None:
    await simulators.control.plan_webhooks("twilio", automatic=False)
    sid = await send()
    await simulators.control.report("twilio", sid, status, code)
    for question in (sought(), sought(sid=sid), sought("another text", sid=sid)):
        (sighting,) = await lookup.find(question)
        assert (sighting.provider_message_id, sighting.status) == (sid, found)
        assert (sighting.failure and sighting.failure.reason) == reason


async def test_all_pages_are_read(
    simulators: Simulators, send: Send, lookup: TwilioLookup, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(books, "PAGE_SIZE", 2)
    await simulators.control.plan_webhooks("twilio", automatic=False)
    sid = await send()
    for number in range(5):
        await send(f"Outro texto {number}")
    assert named(await lookup.find(sought())) == [sid]
    assert len(await simulators.control.journal(simulator="twilio", verdict="answered")) == 3


async def test_the_nearest_in_time_comes_first(http: HttpClient) -> None:
    kept = [message(2, at=START + timedelta(minutes=5)), message(1, at=START + timedelta(seconds=1)), message(3)]
    kept[2]["body"] = "Ola, Ana!"
    async with answering(kept) as wire:
        found = await lookup_of(twilio_settings(wire.base), http).find(sought(at=START))
    assert named(found) == [sid_of(1), sid_of(2), sid_of(3)]


async def test_a_day_is_counted(
    simulators: Simulators, send: Send, lookup: TwilioLookup, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(books, "PAGE_SIZE", 2)
    for _ in range(3):
        await send()
    await send(TWILIO_MESSAGING_SERVICE_SID=SERVICE)
    await simulators.control.inbound("twilio", sender=ANA, text=TEXT)
    today = datetime.now(UTC).date()
    # The number's own, and what the service sends from that number.
    assert await until(lambda: lookup.count(today), lambda counted: counted == 4)
    assert await lookup.count(today - timedelta(days=1)) == 0


async def test_a_day_is_asked_for_by_moments_within_it_and_what_was_sent_on_another_is_left_out(
    http: HttpClient,
) -> None:
    day = datetime(2026, 11, 23, tzinfo=UTC)
    sent = [timedelta(0), timedelta(hours=23, minutes=59, seconds=59), timedelta(seconds=-1), timedelta(days=1), None]
    kept = [
        message(number, date_sent=None if after is None else format_datetime(day + after))
        for number, after in enumerate(sent, 1)
    ]
    async with answering(kept) as wire:
        counted = await lookup_of(twilio_settings(wire.base), http).count(day.date())
    # Whether the service compares days or moments; what says nothing of its day is in the list of that day.
    assert counted == 3
    asked = parse_qs(urlsplit(wire.requests[0].split(b" ")[1].decode()).query)
    assert {name: value for name, [value] in asked.items() if name.startswith("Date")} == {
        "DateSent>": "2026-11-23T00:00:00Z",
        "DateSent<": "2026-11-23T23:59:59Z",
    }


def sid_of(number: int) -> str:
    return f"SM{number:032x}"


def message(number: int = 1, at: datetime = START, **changes: Any) -> dict[str, Any]:
    """A message as Twilio lists it."""
    fields = {
        "sid": sid_of(number),
        "status": "sent",
        "direction": "outbound-api",
        "to": ANA,
        "from": NUMBER,
        "body": TEXT,
        "date_created": format_datetime(at),
        "error_code": None,
    }
    return fields | changes


@asynccontextmanager
async def answering(*pages: Any, status: int = 200, following: str | None = None) -> AsyncIterator[ScriptedServer]:
    """A Twilio with these pages, and with the last one over and over where `following` names one more."""
    path = f"/2010-04-01/Accounts/{ACCOUNT}/Messages.json?Page=1"

    async def talk(line: Connection) -> None:
        while True:
            await line.request()
            number = min(len(line.requests), len(pages)) - 1
            more = following or (path if number + 1 < len(pages) else None)
            page = pages[number]
            body = {"messages": page, "next_page_uri": more} if isinstance(page, list) else page
            await line.answer(status, body if isinstance(body, bytes) else json.dumps(body).encode())

    async with scripted_server(talk) as wire:
        yield wire


@pytest.mark.parametrize(
    "page",
    [
        b"<html>Welcome</html>",
        b"",
        {},
        {"messages": None},
        {"messages": ["SM1"]},
        {"messages": [{"sid": "SM1", "status": "sent"}]},
        {"messages": [{"sid": sid_of(1)}]},
    ],
)
async def test_a_list_that_cannot_be_read_is_not_an_empty_one(http: HttpClient, page: object) -> None:
    async with answering(page) as wire:
        lookup = lookup_of(twilio_settings(wire.base), http)
        for asking in (lookup.find(sought()), lookup.find(sought(sid=sid_of(1))), lookup.count(START.date())):
            with pytest.raises(OutcomeUnknown) as caught:
                await asking
            assert caught.value.answer


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (401, {"code": 20003}, ProviderMisconfigured),
        (404, b"<html>Not Found</html>", ProviderMisconfigured),
        (429, {"code": 20429}, ProviderUnavailable),
        (503, b"", OutcomeUnknown),
    ],
)
async def test_a_refusal_is_not_an_empty_list(
    http: HttpClient, status: int, body: object, error: type[ProviderError]
) -> None:
    async with answering(body, status=status) as wire:
        lookup = lookup_of(twilio_settings(wire.base), http)
        for asking in (lookup.find(sought()), lookup.find(sought(sid=sid_of(1))), lookup.count(START.date())):
            with pytest.raises(error):
                await asking


async def test_a_list_without_end_is_not_read_for_ever_and_not_taken_for_an_empty_one(http: HttpClient) -> None:
    path = f"/2010-04-01/Accounts/{ACCOUNT}/Messages.json?Page=1"
    other = [message(body="Outro texto")]
    async with answering(other, following=path) as wire:
        lookup = lookup_of(twilio_settings(wire.base), http)
        with pytest.raises(ProviderUnavailable):
            await lookup.find(sought(at=START))
        assert await lookup.count(START.date()) is None
        asked = len(wire.requests)
        # What was found is returned, and a list that has reached days before the attempt holds nothing more of it.
        assert await lookup.find(sought(at=START + timedelta(days=1))) == []
        assert len(wire.requests) - asked < 10
    async with answering([message()], following=path) as wire:
        found = await lookup_of(twilio_settings(wire.base), http).find(sought(at=START))
    assert set(named(found)) == {sid_of(1)}


@pytest.mark.parametrize("following", ["https://example.org/", "@example.org/2010-04-01/", "/2010-04-01/Accounts/x"])
async def test_our_credentials_follow_the_list_nowhere_else(http: HttpClient, following: str) -> None:
    async with answering([message()], following=following) as wire:
        with pytest.raises(OutcomeUnknown):
            await lookup_of(twilio_settings(wire.base), http).find(sought(at=START))
        assert len(wire.requests) == 1


@pytest.mark.parametrize("created", [None, "soon", "Mon, 23 Nov 2026 14:00:00 -0000"])
async def test_a_message_without_a_readable_date_may_be_ours(http: HttpClient, created: str | None) -> None:
    async with answering([message(date_created=created)]) as wire:
        found = await lookup_of(twilio_settings(wire.base), http).find(sought(at=START))
    assert named(found) == [sid_of(1)]


async def test_a_text_that_was_not_kept_may_be_ours_and_comes_last(http: HttpClient) -> None:
    async with answering([message(1, body=""), message(2), message(3, body=None)]) as wire:
        found = await lookup_of(twilio_settings(wire.base), http).find(sought(at=START))
    assert named(found)[0] == sid_of(2)
    assert set(named(found)) == {sid_of(1), sid_of(2), sid_of(3)}


@pytest.mark.parametrize(
    ("given", "kept", "expected"),
    [
        ("Olá, Ana!", "Olá, Ana!", TextMatch.SAME),
        ("Olá, Ana!", "Ola, Ana!", TextMatch.ALIKE),
        ("Olá, Ana!", "Sent from your Twilio trial account - Olá, Ana!", TextMatch.ALIKE),
        ("\u201cOlá\u201d \u2014 às 10h\u2026", '"Olá" - às 10h...', TextMatch.ALIKE),
        ("Olá\r\n\r\nAna ", "Olá\n\nAna", TextMatch.ALIKE),
        ("a\u00a0b\u200bc", "a bc", TextMatch.ALIKE),
        ("Olá, Ana!", "Olá, Eva!", TextMatch.DIFFERENT),
        ("Código 1234", "Código 1235", TextMatch.DIFFERENT),
        ("Olá, Ana!", "Olá, Ana! Até já.", TextMatch.DIFFERENT),
        ("Olá, Ana!", "", TextMatch.NOT_KEPT),
        ("Olá, Ana!", None, TextMatch.NOT_KEPT),
    ],
)
def test_a_text_is_known_again_however_twilio_kept_it(given: str, kept: str | None, expected: TextMatch) -> None:
    assert compare_texts(given, kept) is expected
