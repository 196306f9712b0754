"""Reading Twilio's list of messages. https://www.twilio.com/docs/messaging/api/message-resource#read-multiple-message-resources"""

import unicodedata
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from email.utils import parsedate_to_datetime
from enum import IntEnum

from core.errors import OutcomeUnknown, ProviderUnavailable
from core.ports import ReportedStatus, Sighting, Sought, TextContent
from integrations.http_client import HttpClient, HttpResponse
from integrations.twilio.adapter import authorization
from integrations.twilio.errors import (
    CODE,
    PROVIDER,
    SID,
    Json,
    error_from_response,
    failure_of,
    parse_object,
    redacted,
)
from integrations.twilio.settings import Settings
from integrations.twilio.webhook import STATUSES

PAGE_SIZE = 250
"""Messages a page: so many of the longest texts are still less than we read of an answer."""


class TooManyPages(ProviderUnavailable):
    """The list goes on after as many pages as we read."""


class MessageList:
    """What Twilio has written down of our account's messages."""

    def __init__(self, settings: Settings, http: HttpClient) -> None:
        self._http = http
        self._base = settings.api_base.rstrip("/")
        self._path = f"/2010-04-01/Accounts/{settings.account_sid}/Messages"
        self._headers = {"authorization": authorization(settings), "accept": "application/json"}
        self._service = settings.messaging_service_sid
        self._number = None if self._service else settings.phone_number

    async def message(self, sid: str) -> Json | None:
        """One message; None where Twilio has none of this id."""
        answer = await self._ask(f"{self._path}/{sid}.json")
        data = parse_object(answer)
        if answer.status == 404 and str(data.get("code")) == "20404":
            return None
        if answer.status != 200 or data.get("sid") != sid:
            raise error_from_response(answer)
        return data

    async def pages(self, filters: Mapping[str, str], *, most: int) -> AsyncIterator[list[Json]]:
        """The list page by page, to its end; raises TooMany when there is more after `most` pages."""
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
        """Whether we sent it: the account may have other senders, and the list holds what people wrote, too."""
        if not str(message.get("direction")).startswith("outbound"):
            return False
        if self._service:
            return message.get("messaging_service_sid") == self._service
        return message.get("from") == self._number

    async def _ask(self, path: str, query: Mapping[str, str] | None = None) -> HttpResponse:
        return await self._http.call("GET", f"{self._base}{path}", headers=self._headers, query=query)

    def _read(self, answer: HttpResponse) -> tuple[list[Json], str | None]:
        """A page, and the path of the one after it; a page that cannot be read is never an empty one."""
        data = parse_object(answer)
        messages, following = data.get("messages"), data.get("next_page_uri")
        if answer.status != 200 or not isinstance(messages, list) or not all(map(_is_message, messages)):
            raise error_from_response(answer)
        # We sign in wherever it leads: nowhere but to this list.
        if following is not None and not str(following).startswith(f"{self._path}.json?"):
            raise OutcomeUnknown("Twilio's list leads elsewhere.", provider=PROVIDER, answer=redacted(answer))
        return messages, following


def parse_date(message: Json, name: str) -> datetime | None:
    """A moment, which Twilio writes as mail does; None where there is none yet."""
    try:
        found = parsedate_to_datetime(str(message.get(name)))
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _is_message(found: object) -> bool:
    return isinstance(found, dict) and SID.fullmatch(str(found.get("sid"))) is not None and bool(found.get("status"))


# Whether a text Twilio kept is the one we gave: it may have been changed on the way.
#
# Smart encoding replaces what has a likeness in GSM-7 (https://www.twilio.com/docs/messaging/services/smart-encoding-
# char-list),
# a trial account puts a sentence in front, and an account that redacts keeps no text at all.


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
    """How much a kept text says for being ours, the most first."""

    SAME = 0
    ALIKE = 1
    NOT_KEPT = 2
    DIFFERENT = 3


def compare_texts(given: str, kept: object) -> TextMatch:
    """Compare what we gave with what Twilio shows."""
    if not isinstance(kept, str) or not kept:
        return TextMatch.NOT_KEPT
    if kept == given:
        return TextMatch.SAME
    return TextMatch.ALIKE if _normalized(kept.removeprefix(_TRIAL)) == _normalized(given) else TextMatch.DIFFERENT


def _normalized(text: str) -> str:
    """What is left of a text however it was written: letters without accents, plain marks, single spaces."""
    apart = unicodedata.normalize("NFKD", text.translate(_REPLACED))
    return " ".join("".join(letter for letter in apart if not unicodedata.combining(letter)).split())


# Asking Twilio what became of a message when nobody told us.


BEFORE, AFTER = timedelta(seconds=60), timedelta(minutes=10)
"""How far from the start of an attempt, by our clock, Twilio may have made its message, by its own."""
PAGES_OF_A_PERSON, PAGES_OF_A_DAY = 8, 80

Candidate = tuple[TextMatch, timedelta, Sighting]
"""A message that may be the attempt: the likeliest are the smallest."""


class TwilioLookup:
    """Finds a message by Twilio's id, or else by sender, recipient, text and time."""

    def __init__(self, books: MessageList) -> None:
        self._books = books

    async def find(self, sought: Sought) -> Sequence[Sighting]:
        if sought.provider_message_id and SID.fullmatch(sought.provider_message_id):
            message = await self._books.message(sought.provider_message_id)
            return [] if message is None else [_sighting(message)]
        found, pages = await self._look(sought, most=PAGES_OF_A_PERSON)
        if not found and pages > 1:
            # What is sent while we turn the pages moves to the first one.
            found, _ = await self._look(sought, most=1)
        return [sighting for _, _, sighting in sorted(found, key=lambda one: one[:2])]

    async def _look(self, sought: Sought, *, most: int) -> tuple[list[Candidate], int]:
        found: list[Candidate] = []
        pages, page = 0, list[Json]()
        try:
            # Not by DateSent: what still waits in Twilio's queue has none, and no list by date would show it.
            async for page in self._books.pages({"To": sought.to}, most=most):
                found += filter(None, (self._judge(message, sought) for message in page))
                pages += 1
        except TooManyPages:
            # The list begins with the newest: when it has reached days long past, the rest is older still.
            has_passed = all(_is_before(message, sought.started_at - BEFORE) for message in page)
            if not found and not has_passed and most > 1:
                raise
        return found, pages

    def _judge(self, message: Json, sought: Sought) -> Candidate | None:
        """How likely a message is the attempt; None where it cannot be."""
        assert isinstance(sought.content, TextContent)  # noqa: S101  # accepted for this channel only as text
        like = compare_texts(sought.content.text, message.get("body"))
        if like is TextMatch.DIFFERENT or not self._books.is_ours(message) or not _may_be(message, sought):
            return None
        return like, _distance(message, sought), _sighting(message)

    async def count(self, day: date) -> int | None:
        # The contract wants moments, and the service may compare moments or whole days: both ends lie within the day.
        # What was sent on another day is left out here.
        within = {"DateSent>": f"{day.isoformat()}T00:00:00Z", "DateSent<": f"{day.isoformat()}T23:59:59Z"}
        counted = 0
        try:
            async for page in self._books.pages(within, most=PAGES_OF_A_DAY):
                counted += sum(self._books.is_ours(message) and _is_of(message, day) for message in page)
        except TooManyPages:
            return None
        return counted


def _may_be(message: Json, sought: Sought) -> bool:
    created = parse_date(message, "date_created")
    return created is None or sought.started_at - BEFORE <= created <= sought.started_at + AFTER


def _is_of(message: Json, day: date) -> bool:
    """Whether it was sent on that day, in UTC; a date nobody can read does not speak against the list it is in."""
    sent = parse_date(message, "date_sent")
    return sent is None or sent.astimezone(UTC).date() == day


def _is_before(message: Json, limit: datetime) -> bool:
    created = parse_date(message, "date_created")
    return created is not None and created < limit


def _distance(message: Json, sought: Sought) -> timedelta:
    created = parse_date(message, "date_created")
    return timedelta.max if created is None else abs(created - sought.started_at)


def _sighting(message: Json) -> Sighting:
    status, code = STATUSES.get(str(message["status"])), str(message.get("error_code"))
    failure = failure_of(code if CODE.fullmatch(code) else "") if status is ReportedStatus.FAILED else None
    return Sighting(str(message["sid"]), status, failure, parse_date(message, "date_created"))
