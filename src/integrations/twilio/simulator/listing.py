"""The list of messages, filtered and paged. https://www.twilio.com/docs/messaging/api/message-resource#read-multiple-message-resources"""

from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime
from urllib.parse import urlencode

from integrations.simulating.company import Json
from integrations.twilio.simulator.message import Message

PAGE_SIZE, LARGEST_PAGE = 50, 1000


def listed(messages: Iterable[Message], query: Mapping[str, str], path: str) -> Json:
    """One page, newest first; a filter that cannot be read matches nothing rather than everything."""
    found = sorted((m for m in messages if _matches(m, query)), key=lambda m: m.at, reverse=True)
    size = min(max(_number(query.get("PageSize"), PAGE_SIZE), 1), LARGEST_PAGE)
    page = _number(query.get("Page"), 0)
    shown = found[page * size : (page + 1) * size]

    def address(number: int) -> str:
        filters = {key: value for key, value in query.items() if key not in ("Page", "PageSize", "PageToken")}
        token = {"PageToken": f"PA{found[number * size].id}"} if number else {}
        return f"{path}?{urlencode({**filters, 'PageSize': size, 'Page': number, **token})}"

    return {
        "messages": [message.resource() for message in shown],
        "page": page,
        "page_size": size,
        "start": page * size,
        "end": page * size + max(len(shown) - 1, 0),
        "uri": address(page) if shown else path,
        "first_page_uri": address(0),
        "next_page_uri": address(page + 1) if len(found) > (page + 1) * size else None,
        "previous_page_uri": address(page - 1) if page and shown else None,
    }


def _matches(message: Message, query: Mapping[str, str]) -> bool:
    sent = message.sent_at or message.at
    return (
        query.get("To") in (None, message.to)
        and query.get("From") in (None, message.sender)
        and all(_compares(name, sent, query[name]) for name in ("DateSent", "DateSent>", "DateSent<") if name in query)
    )


def _compares(name: str, sent: datetime, value: str) -> bool:
    """Compare with a day, or with a moment; both ends are included."""
    try:
        limit = datetime.fromisoformat(value)
    except ValueError:
        return False
    limit = limit if limit.tzinfo else limit.replace(tzinfo=UTC)
    ours: date | datetime = sent.date() if len(value) == len("2026-11-23") else sent.replace(microsecond=0)
    theirs: date | datetime = limit.date() if len(value) == len("2026-11-23") else limit
    if name == "DateSent":
        return ours == theirs
    return ours >= theirs if name == "DateSent>" else ours <= theirs


def _number(text: str | None, default: int) -> int:
    return int(text) if text and text.isdecimal() else default
