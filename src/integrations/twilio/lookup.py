"""Finds a message at Twilio whose outcome is unknown, in Twilio's list of messages.

The text in the list may differ from ours: smart encoding replaces characters that are like one in GSM-7, a trial
account puts a sentence in front, and an account with redaction keeps no text.

https://www.twilio.com/docs/messaging/api/message-resource#read-multiple-message-resources
https://www.twilio.com/docs/messaging/services/smart-encoding-char-list
"""

import unicodedata
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from email.utils import parsedate_to_datetime
from enum import IntEnum

from core.errors import OutcomeUnknown, ProviderUnavailable
from core.ports import LookupRequest, ProviderRecord, ReportedStatus, TextContent
from integrations.http_client import HttpClient, HttpResponse
from integrations.twilio.adapter import authorization
from integrations.twilio.errors import (
    CODE,
    ERRORS,
    PROVIDER,
    SID,
    Json,
    error_from_response,
    parse_object,
    redacted,
)
from integrations.twilio.settings import Settings
from integrations.twilio.webhook import STATUSES

PAGE_SIZE = 250
"""Messages on a page: even with the longest texts, a page is smaller than the largest response that we read."""


class TooManyPages(ProviderUnavailable):
    """The list has more pages than we read."""


class MessageList:
    """The messages of our account, as Twilio lists them."""

    def __init__(self, settings: Settings, http: HttpClient) -> None:
        self._http = http
        self._base = settings.api_base.rstrip("/")
        self._path = f"/2010-04-01/Accounts/{settings.account_sid}/Messages"
        self._headers = {"authorization": authorization(settings), "accept": "application/json"}
        self._service = settings.messaging_service_sid
        self._number = None if self._service else settings.phone_number

    async def message(self, sid: str) -> Json | None:
        """Return one message; None where Twilio has none of this id."""
        answer = await self._ask(f"{self._path}/{sid}.json")
        data = parse_object(answer)
        if answer.status == 404 and str(data.get("code")) == "20404":
            return None
        if answer.status != 200 or data.get("sid") != sid:
            raise error_from_response(answer)
        return data

    async def pages(self, filters: Mapping[str, str], *, most: int) -> AsyncIterator[list[Json]]:
        """Yield the list page by page; raises TooManyPages when there is more after `most` pages."""
        sender = {"From": self._number} if self._number else {}
        query = {**filters, **sender, "PageSize": str(PAGE_SIZE)}
        following: str | None = None
        for _ in range(most):
            answer = await (self._ask(following) if following else self._ask(f"{self._path}.json", query))
            page, following = self._read(answer)
            yield page
            if following is None:
                return
        raise TooManyPages("Twilio has more messages than we look through.", provider=PROVIDER)

    def is_ours(self, message: Json) -> bool:
        """Whether we sent it: the account may have other senders, and the list holds inbound messages, too."""
        if not str(message.get("direction")).startswith("outbound"):
            return False
        if self._service:
            return message.get("messaging_service_sid") == self._service
        return message.get("from") == self._number

    async def _ask(self, path: str, query: Mapping[str, str] | None = None) -> HttpResponse:
        return await self._http.counted_call(
            "list messages", "GET", f"{self._base}{path}", headers=self._headers, query=query
        )

    def _read(self, answer: HttpResponse) -> tuple[list[Json], str | None]:
        """Return a page, and the path of the next; a page that cannot be read is an error, not an empty page."""
        data = parse_object(answer)
        messages, following = data.get("messages"), data.get("next_page_uri")
        if answer.status != 200 or not isinstance(messages, list) or not all(map(_is_message, messages)):
            raise error_from_response(answer)
        # The next request carries our credentials, so it must go to the same list.
        if following is not None and not str(following).startswith(f"{self._path}.json?"):
            raise OutcomeUnknown("Twilio's list leads elsewhere.", provider=PROVIDER, answer=redacted(answer))
        return messages, following


def parse_date(message: Json, name: str) -> datetime | None:
    """Read a date, which Twilio writes as e-mail does; None where there is none yet."""
    try:
        found = parsedate_to_datetime(str(message.get(name)))
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _is_message(found: object) -> bool:
    return isinstance(found, dict) and SID.fullmatch(str(found.get("sid"))) is not None and bool(found.get("status"))


_TRIAL = "Sent from your Twilio trial account - "
_REPLACED = str.maketrans(
    {
        **dict.fromkeys("\u2018\u2019\u201a\u201b\u2032\u00b4\u0060\u02bc", "'"),
        **dict.fromkeys("\u201c\u201d\u201e\u201f\u2033\u00ab\u00bb", '"'),
        **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015\u2212", "-"),
        **dict.fromkeys("\u200b\u200c\u200d\u2060\ufeff\u00ad", ""),
        "\u2022": "*",
        "\u2044": "/",
    }
)


class TextMatch(IntEnum):
    """How far the text that Twilio lists agrees with ours; the best match is the smallest."""

    SAME = 0
    ALIKE = 1
    NOT_KEPT = 2
    DIFFERENT = 3


def compare_texts(given: str, kept: object) -> TextMatch:
    """Compare the text that we sent with the one that Twilio lists."""
    if not isinstance(kept, str) or not kept:
        return TextMatch.NOT_KEPT
    if kept == given:
        return TextMatch.SAME
    return TextMatch.ALIKE if _normalized(kept.removeprefix(_TRIAL)) == _normalized(given) else TextMatch.DIFFERENT


def _normalized(text: str) -> str:
    """Return a text reduced to what encoding does not change: no accents, plain punctuation, single spaces."""
    apart = unicodedata.normalize("NFKD", text.translate(_REPLACED))
    return " ".join("".join(letter for letter in apart if not unicodedata.combining(letter)).split())


BEFORE, AFTER = timedelta(seconds=60), timedelta(minutes=10)
"""How long before and after the start of an attempt Twilio may have created the message; the clocks may differ."""
PAGES_OF_A_PERSON, PAGES_OF_A_DAY = 8, 80

Candidate = tuple[TextMatch, timedelta, ProviderRecord]
"""A message that may be the attempt: the text match, the distance in time, and what Twilio says of it."""


class TwilioLookup:
    """Finds a message by Twilio's id, or else by sender, recipient, text and time."""

    def __init__(self, messages: MessageList) -> None:
        self._messages = messages

    async def find(self, sought: LookupRequest) -> Sequence[ProviderRecord]:
        if sought.provider_message_id and SID.fullmatch(sought.provider_message_id):
            message = await self._messages.message(sought.provider_message_id)
            return [] if message is None else [_sighting(message)]
        found, pages = await self._look(sought, most=PAGES_OF_A_PERSON)
        if not found and pages > 1:
            # A message that is sent while we read the pages appears on the first one.
            found, _ = await self._look(sought, most=1)
        return [sighting for _, _, sighting in sorted(found, key=lambda one: one[:2])]

    async def _look(self, sought: LookupRequest, *, most: int) -> tuple[list[Candidate], int]:
        found: list[Candidate] = []
        pages, page = 0, list[Json]()
        try:
            # Not filtered by DateSent: a message that waits in Twilio's queue has none yet.
            async for page in self._messages.pages({"To": sought.to}, most=most):
                found += filter(None, (self._judge(message, sought) for message in page))
                pages += 1
        except TooManyPages:
            # The list is newest first: when a page is older than the attempt, so are all that follow.
            is_past_attempt = all(_is_before(message, sought.started_at - BEFORE) for message in page)
            if not found and not is_past_attempt and most > 1:
                raise
        return found, pages

    def _judge(self, message: Json, sought: LookupRequest) -> Candidate | None:
        """Return how well a message fits the attempt; None where it cannot be the attempt."""
        assert isinstance(sought.content, TextContent)  # noqa: S101  # accepted for this channel only as text
        match = compare_texts(sought.content.text, message.get("body"))
        if match is TextMatch.DIFFERENT or not self._messages.is_ours(message) or not _may_be(message, sought):
            return None
        return match, _distance(message, sought), _sighting(message)

    async def count(self, day: date) -> int | None:
        # The contract asks for times, and the service may compare times or whole days: both ends lie within the day.
        # Messages of another day are left out here.
        within = {"DateSent>": f"{day.isoformat()}T00:00:00Z", "DateSent<": f"{day.isoformat()}T23:59:59Z"}
        counted = 0
        try:
            async for page in self._messages.pages(within, most=PAGES_OF_A_DAY):
                counted += sum(self._messages.is_ours(message) and _is_of(message, day) for message in page)
        except TooManyPages:
            return None
        return counted


def _may_be(message: Json, sought: LookupRequest) -> bool:
    created = parse_date(message, "date_created")
    return created is None or sought.started_at - BEFORE <= created <= sought.started_at + AFTER


def _is_of(message: Json, day: date) -> bool:
    """Whether it was sent on that day, in UTC; a date that cannot be read counts as that day, by which we filtered."""
    sent = parse_date(message, "date_sent")
    return sent is None or sent.astimezone(UTC).date() == day


def _is_before(message: Json, limit: datetime) -> bool:
    created = parse_date(message, "date_created")
    return created is not None and created < limit


def _distance(message: Json, sought: LookupRequest) -> timedelta:
    created = parse_date(message, "date_created")
    return timedelta.max if created is None else abs(created - sought.started_at)


def _sighting(message: Json) -> ProviderRecord:
    status, code = STATUSES.get(str(message["status"])), str(message.get("error_code"))
    failure = ERRORS.failure(code if CODE.fullmatch(code) else "") if status is ReportedStatus.FAILED else None
    return ProviderRecord(str(message["sid"]), status, failure, parse_date(message, "date_created"))
