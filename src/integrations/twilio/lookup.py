"""Asking Twilio what became of a message when nobody told us."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta

from core.ports import ReportedStatus, Sighting, Sought, TextContent
from integrations.twilio.books import Books, TooMany, moment
from integrations.twilio.errors import failure_of
from integrations.twilio.reading import CODE, SID, Json
from integrations.twilio.texts import Likeness, likeness
from integrations.twilio.webhook import STATUSES

BEFORE, AFTER = timedelta(seconds=60), timedelta(minutes=10)
"""How far from the start of an attempt, by our clock, Twilio may have made its message, by its own."""
PAGES_OF_A_PERSON, PAGES_OF_A_DAY = 8, 80

Found = tuple[Likeness, timedelta, Sighting]
"""A message that may be the attempt: the likeliest are the smallest."""


class TwilioLookup:
    """Finds a message by Twilio's id, or else by sender, recipient, text and time."""

    def __init__(self, books: Books) -> None:
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

    async def _look(self, sought: Sought, *, most: int) -> tuple[list[Found], int]:
        found: list[Found] = []
        pages, page = 0, list[Json]()
        try:
            # Not by DateSent: what still waits in Twilio's queue has none, and no list by date would show it.
            async for page in self._books.pages({"To": sought.to}, most=most):
                found += filter(None, (self._judge(message, sought) for message in page))
                pages += 1
        except TooMany:
            # The list begins with the newest: when it has reached days long past, the rest is older still.
            has_passed = all(_is_before(message, sought.started_at - BEFORE) for message in page)
            if not found and not has_passed and most > 1:
                raise
        return found, pages

    def _judge(self, message: Json, sought: Sought) -> Found | None:
        """How likely a message is the attempt; None where it cannot be."""
        assert isinstance(sought.content, TextContent)  # noqa: S101  # accepted for this channel only as text
        like = likeness(sought.content.text, message.get("body"))
        if like is Likeness.DIFFERENT or not self._books.is_ours(message) or not _may_be(message, sought):
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
        except TooMany:
            return None
        return counted


def _may_be(message: Json, sought: Sought) -> bool:
    created = moment(message, "date_created")
    return created is None or sought.started_at - BEFORE <= created <= sought.started_at + AFTER


def _is_of(message: Json, day: date) -> bool:
    """Whether it was sent on that day, in UTC; a date nobody can read does not speak against the list it is in."""
    sent = moment(message, "date_sent")
    return sent is None or sent.astimezone(UTC).date() == day


def _is_before(message: Json, limit: datetime) -> bool:
    created = moment(message, "date_created")
    return created is not None and created < limit


def _distance(message: Json, sought: Sought) -> timedelta:
    created = moment(message, "date_created")
    return timedelta.max if created is None else abs(created - sought.started_at)


def _sighting(message: Json) -> Sighting:
    status, code = STATUSES.get(str(message["status"])), str(message.get("error_code"))
    failure = failure_of(code if CODE.fullmatch(code) else "") if status is ReportedStatus.FAILED else None
    return Sighting(str(message["sid"]), status, failure, moment(message, "date_created"))
