"""The list of messages, filtered and paged.

https://www.twilio.com/docs/messaging/api/message-resource#read-multiple-message-resources, and for pages
https://www.twilio.com/docs/usage/twilios-response#paging: the token says where a page begins, its number nothing.
"""

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime
from urllib.parse import urlencode

from integrations.simulating.provider import Json
from integrations.twilio.simulator.state import Message
from integrations.twilio.simulator.validation import TwilioError

PAGE_SIZE, LARGEST_PAGE = 50, 1000
_DATES = ("DateSent", "DateSent>", "DateSent<")
_MOMENT = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}([.][0-9]+)?(Z|[+-][0-9]{2}:[0-9]{2})", re.I
)
_PAGING = ("Page", "PageSize", "PageToken")


def listed(messages: Iterable[Message], query: Mapping[str, str], path: str) -> Json | TwilioError:
    """One page, newest first, or why there is none."""
    if any(_day(query[name]) is None for name in _DATES if query.get(name)):
        return TwilioError(20001, "date")
    if wrong := next((name for name in ("Page", "PageSize") if not _is_number(query.get(name))), None):
        return TwilioError(20001, wrong)
    if not 1 <= _number(query.get("PageSize"), PAGE_SIZE) <= LARGEST_PAGE:
        return TwilioError(20007)
    found = sorted((m for m in messages if _matches(m, query)), key=lambda m: m.sent_at or m.at, reverse=True)
    size = _number(query.get("PageSize"), PAGE_SIZE)
    begin = _begin(found, query.get("PageToken"), size)
    if begin is None:
        return TwilioError(20001, "PageToken")
    page, shown = _number(query.get("Page"), 0), found[begin : begin + size]

    def address(number: int, token: str | None = None) -> str:
        filters = {key: value for key, value in query.items() if key not in _PAGING}
        return f"{path}?{urlencode({**filters, 'PageSize': size, 'Page': number, **_given(PageToken=token)})}"

    has_more = len(found) > begin + size
    return {
        "messages": [message.resource() for message in shown],
        "page": page,
        "page_size": size,
        "start": page * size,
        "end": page * size + max(len(shown) - 1, 0),
        "uri": address(page, query.get("PageToken")),
        "first_page_uri": address(0),
        "next_page_uri": address(page + 1, f"PA{shown[-1].id}") if has_more else None,
        "previous_page_uri": address(max(page - 1, 0), f"PB{shown[0].id}") if begin and shown else None,
    }


def _given(**parameters: str | None) -> dict[str, str]:
    return {name: value for name, value in parameters.items() if value}


def _begin(found: list[Message], token: str | None, size: int) -> int | None:
    """Where a page begins: after the message of a PA token, or so that it ends before that of a PB token."""
    if not token:
        return 0
    place = next((number for number, message in enumerate(found) if message.id == token[2:]), None)
    if place is None or token[:2] not in ("PA", "PB"):
        return None
    return place + 1 if token[:2] == "PA" else max(place - size, 0)


def _matches(message: Message, query: Mapping[str, str]) -> bool:
    return (
        query.get("To") in (None, "", message.to)
        and query.get("From") in (None, "", message.sender if message.is_chosen else None)
        and all(_compares(name, message.sent_at, query[name]) for name in _DATES if query.get(name))
    )


def _compares(name: str, sent: datetime | None, value: str) -> bool:
    """Compare days, both ends included; what waits in the queue was sent on none."""
    day = _day(value)
    if sent is None or day is None:
        return False
    if name == "DateSent":
        return sent.date() == day
    return sent.date() >= day if name == "DateSent>" else sent.date() <= day


def _day(text: str) -> date | None:
    """The day in UTC of a moment; its time of day counts for nothing else.

    None for what is no moment: Twilio's published contract wants one, though the description beside it shows dates.
    """
    if not _MOMENT.fullmatch(text):
        return None
    try:
        read = datetime.fromisoformat(text)
    except ValueError:
        return None
    return (read if read.tzinfo else read.replace(tzinfo=UTC)).astimezone(UTC).date()


def _is_number(text: str | None) -> bool:
    return text is None or re.fullmatch("[0-9]{1,9}", text) is not None


def _number(text: str | None, default: int) -> int:
    return default if text is None else int(text)
