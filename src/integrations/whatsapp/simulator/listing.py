"""Lists and objects of the Graph API: filtered, paged, and only the fields that were asked for.

https://developers.facebook.com/docs/graph-api/results
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as NotBase64
from collections.abc import Mapping, Sequence
from urllib.parse import urlencode

from integrations.simulating.company import Json

PAGE_SIZE, LARGEST_PAGE = 25, 1000
TEMPLATES_AT_MOST = 6000
_FILTERS = ("name", "language", "status", "category")


def with_fields(data: Json, fields: str | None) -> Json:
    """The object with its id and the fields that were asked for; all of them when none were."""
    wanted = {"id", *(fields or "").split(",")}
    return {name: value for name, value in data.items() if name in wanted} if fields else data


def listed(templates: Sequence[Json], query: Mapping[str, str], address: str) -> Json:
    """One page of templates; `address` is the one that was asked."""
    wanted = {name: query[name].split(",") for name in _FILTERS if name in query}
    found = [one for one in templates if all(one[name] in words for name, words in wanted.items())]
    size = min(max(_number(query.get("limit"), PAGE_SIZE), 1), LARGEST_PAGE)
    begin = _place(query.get("after"), 0)
    page = found[begin : begin + size]
    answer: Json = {"data": [with_fields(one, query.get("fields")) for one in page]}
    if page:
        answer["paging"] = _paging(begin, begin + len(page), len(found), query, address)
    if "summary" in query:
        answer["summary"] = {
            "total_count": len(found),
            "message_template_count": len(templates),
            "message_template_limit": TEMPLATES_AT_MOST,
            "are_translations_complete": False,
        }
    return answer


def _paging(begin: int, end: int, total: int, query: Mapping[str, str], address: str) -> Json:
    paging: Json = {"cursors": {"before": _cursor(begin), "after": _cursor(end)}}
    if end < total:
        paging["next"] = f"{address}?{urlencode({**query, 'after': _cursor(end)})}"
    return paging


def _cursor(place: int) -> str:
    return urlsafe_b64encode(f"place:{place}".encode()).decode()


def _place(cursor: str | None, default: int) -> int:
    try:
        text = urlsafe_b64decode(cursor or "").decode()
    except (NotBase64, ValueError):
        return default
    return _number(text.removeprefix("place:"), default)


def _number(text: str | None, default: int) -> int:
    return int(text) if text and text.isdecimal() and len(text) < 9 else default
