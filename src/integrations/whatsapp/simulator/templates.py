"""Templates of the simulated account: checking and filling them, and the Graph API's lists and objects.

Each is kept as Meta lists it. https://developers.facebook.com/docs/graph-api/reference/whats-app-business-account/message_templates
"""

import json
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as NotBase64
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from integrations.simulating.provider import Json
from integrations.whatsapp.simulator.account import MetaError

TEXT_LIMITS: Mapping[str, int] = {"HEADER": 60, "BODY": 1024}
_CATALOGUE = Path(__file__).parent / "catalogue.json"
_PLACEHOLDER = re.compile(r"\{\{(\w+)\}\}")
# A button with a gap → what its component is called, and its parameter's type.
_BUTTONS: Mapping[str, tuple[str, str]] = {
    "QUICK_REPLY": ("quick_reply", "payload"),
    "URL": ("url", "text"),
    "OTP": ("url", "text"),
    "COPY_CODE": ("copy_code", "coupon_code"),
}


def first_templates() -> list[Json]:
    """The templates of the first day, one in each state at least."""
    found: list[Json] = json.loads(_CATALOGUE.read_text(encoding="utf-8"))
    return found


def component(template: Json, kind: str) -> Json:
    """A part of a template: HEADER, BODY or BUTTONS; empty where it has none."""
    return next((part for part in template["components"] if part["type"] == kind), {})


class Filling:
    """A template as a request gives it; none of its fields is trusted."""

    def __init__(self, templates: Sequence[Json], wanted: Any) -> None:
        self.wanted: Json = wanted if isinstance(wanted, dict) else {}
        self._language = _text(self.wanted.get("language"), "code")
        named = (one for one in templates if one["name"] == self.wanted.get("name"))
        self.template: Json = next((one for one in named if one["language"] == self._language), {})
        given = self.wanted.get("components", [])
        self._given: list[Json] = [one for one in given if isinstance(one, dict)] if isinstance(given, list) else []

    def refusal(self) -> MetaError | None:
        """The first thing wrong with it, if any."""
        return next((error for check in _CHECKS if (error := check(self))), None)

    def text(self) -> str:
        """What the reader sees, header and body."""
        return "\n".join(filled for kind in TEXT_LIMITS if (filled := self._filled(kind)))

    def _is_nameless(self) -> MetaError | None:
        if not isinstance(self.wanted.get("name"), str) or not self._language:
            return MetaError(131008, "template needs name and language.code")
        return None

    def _is_not_there(self) -> MetaError | None:
        name, status = self.wanted["name"], self.template.get("status")
        if status == "PAUSED":
            return MetaError(132015, f"template {name} is paused due to low quality")
        if status == "DISABLED":
            return MetaError(132016, f"template {name} was paused too many times and is disabled")
        if status != "APPROVED":
            return MetaError(132001, f"template name ({name}) does not exist in {self._language}")
        return None

    def _has_wrong_parameters(self) -> MetaError | None:
        for kind in TEXT_LIMITS:
            if error := self._parameters_are_wrong(kind, _placeholders(component(self.template, kind).get("text", ""))):
                return error
        return None

    def _is_too_long(self) -> MetaError | None:
        for kind, limit in TEXT_LIMITS.items():
            if len(self._filled(kind)) > limit:
                return MetaError(132005, f"{kind.lower()}: the text has more than {limit} characters")
        return None

    def _has_wrong_buttons(self) -> MetaError | None:
        buttons = component(self.template, "BUTTONS").get("buttons", [])
        given = {str(one.get("index")): one for one in self._components("BUTTON")}
        for index, one in given.items():
            if error := _button_is_wrong(buttons, index, one):
                return error
        needed = (str(n) for n, button in enumerate(buttons) if _has_placeholder(button))
        if missing := next((index for index in needed if index not in given), None):
            return MetaError(131008, f"components: Button at index {missing} requires a parameter")
        return None

    def _parameters_are_wrong(self, kind: str, gaps: Sequence[str]) -> MetaError | None:
        place, parameters = kind.lower(), self._parameters(kind)
        if len(parameters) != len(gaps):
            details = f"{place}: number of localizable_params ({len(parameters)}) does not match the expected "
            return MetaError(132000, f"{details}number of params ({len(gaps)})")
        if not all(parameter.get("type") == "text" and _text(parameter, "text") for parameter in parameters):
            return MetaError(132012, f"{place}: every parameter needs type text and a text")
        is_named = self.template.get("parameter_format") == "NAMED"
        if is_named and {_text(parameter, "parameter_name") for parameter in parameters} != set(gaps):
            return MetaError(132012, f"{place}: the parameters are named {', '.join(gaps)}")
        return None

    def _components(self, kind: str) -> list[Json]:
        """What was given for a part of the template; Meta does not mind capitals in its type."""
        return [one for one in self._given if _text(one, "type").upper() == kind]

    def _parameters(self, kind: str) -> list[Json]:
        found = next((one.get("parameters") for one in self._components(kind)), None)
        return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []

    def _filled(self, kind: str) -> str:
        values = {
            _text(parameter, "parameter_name") or str(number): _text(parameter, "text")
            for number, parameter in enumerate(self._parameters(kind), 1)
        }
        text: str = component(self.template, kind).get("text", "")
        return _PLACEHOLDER.sub(lambda gap: values.get(gap[1], gap[0]), text)


_CHECKS: tuple[Callable[[Filling], MetaError | None], ...] = (
    Filling._is_nameless,
    Filling._is_not_there,
    Filling._has_wrong_parameters,
    Filling._is_too_long,
    Filling._has_wrong_buttons,
)


def _button_is_wrong(buttons: Sequence[Json], index: str, given: Json) -> MetaError | None:
    if not index.isdecimal() or int(index) >= len(buttons):
        return MetaError(131009, f"components: there is no button at index {index}")
    kind = buttons[int(index)]["type"]
    if kind not in _BUTTONS or (kind == "URL" and not _has_placeholder(buttons[int(index)])):
        return MetaError(132012, f"components: Button at index {index} takes no parameter")
    sub_type, parameter = _BUTTONS[kind]
    parameters = given.get("parameters")
    if _text(given, "sub_type").lower() != sub_type:
        return MetaError(132012, f"components: Button at index {index} is of sub_type {sub_type}")
    if not isinstance(parameters, list) or len(parameters) != 1 or not _text(parameters[0], parameter):
        return MetaError(132012, f"components: Button at index {index} takes one parameter, a {parameter}")
    return None


def _has_placeholder(button: Json) -> bool:
    return button["type"] in ("OTP", "COPY_CODE") or bool(_placeholders(button.get("url", "")))


def _placeholders(text: str) -> list[str]:
    return list(dict.fromkeys(_PLACEHOLDER.findall(text)))


def _text(data: Any, name: str) -> str:
    value = data.get(name) if isinstance(data, dict) else None
    return value if isinstance(value, str) else ""


# Lists and objects of the Graph API: filters, pages, and only the requested fields.
#
# https://developers.facebook.com/docs/graph-api/results


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
