"""The gaps of a text: where they are, what they are called, and putting values into them. No code, ever.

Ours are {{name}}, {{order.number}} (one name, with a dot in it) and {{name|a default}}; a company's {{1}} or {{name}}.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

from core.templates.values import Template

_OURS = re.compile(r"\{\{ ?(\w+(?:\.\w+)*) ?(?:\|([^{}|]*))?\}\}")
_THEIRS = re.compile(r"\{\{(\w+)\}\}")
ONE_TIME_CODE = "OTP"
"""The button that copies the code of the body, and so has no variable of its own."""


@dataclass(frozen=True, slots=True)
class Gap:
    """A gap; one with a default may stay unfilled."""

    name: str
    default: str | None = None


@dataclass(frozen=True, slots=True)
class Variable:
    """What a caller may, or must, give for a template."""

    name: str
    is_required: bool
    example: str | None


def gaps_of(text: str, *, is_ours: bool) -> list[Gap]:
    """The gaps of a text, each name once, in the order of their first appearance."""
    found: dict[str, Gap] = {}
    for match in _form(is_ours).finditer(text):
        gap = _gap(match, is_ours)
        # A gap that has a default in one place and none in another must be filled.
        if gap.name not in found or gap.default is None:
            found[gap.name] = gap
    return list(found.values())


def put_in(text: str, value_of: Callable[[Gap], str], *, is_ours: bool) -> str:
    """Fill every gap at once: what a value looks like is never read again."""
    return _form(is_ours).sub(lambda match: value_of(_gap(match, is_ours)), text)


def header_variable(gap: str) -> str:
    """What a company's header gap is called: numbers begin anew there, names mean the same everywhere."""
    return f"header.{gap}" if gap.isdecimal() else gap


def button_variable(index: int, kind: str) -> str:
    """What the gap of a company's button is called, counted from 0."""
    return "1" if kind == ONE_TIME_CODE else f"button.{index}"


def variables_of(template: Template) -> list[Variable]:
    """Everything a template can be filled with, each once."""
    found: dict[str, Gap] = {}
    for name, gap in _named_gaps(template):
        if name not in found or gap.default is None:
            found[name] = gap
    return [Variable(name, gap.default is None, _example(template, name, gap)) for name, gap in found.items()]


def _named_gaps(template: Template) -> list[tuple[str, Gap]]:
    if template.is_ours:
        texts = (template.subject, template.body, template.html)
        return [(gap.name, gap) for text in texts for gap in gaps_of(text or "", is_ours=True)]
    header = [(header_variable(gap.name), gap) for gap in gaps_of(template.header or "", is_ours=False)]
    body = [(gap.name, gap) for gap in gaps_of(template.body, is_ours=False)]
    buttons = [(button_variable(one.index, one.kind), Gap("1")) for one in template.buttons]
    return [*header, *body, *buttons]


def _example(template: Template, name: str, gap: Gap) -> str | None:
    return template.examples.get(name, gap.default)


def _form(is_ours: bool) -> re.Pattern[str]:
    return _OURS if is_ours else _THEIRS


def _gap(match: re.Match[str], is_ours: bool) -> Gap:
    return Gap(match[1], match[2] if is_ours else None)
