"""Filling a template: its gaps, the caller's values, and what is sent or everything that is wrong."""

import html
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from core.characters import check_text, refused_in_text, refused_on_line
from core.errors import AppError, InputRule, InvalidInput, NotFound, Refused
from core.ports import ButtonParameter, Channel, Content, EmailContent, TemplateApproval, TemplateContent, TextContent
from core.ports.content import check_content, content_to_json
from core.ports.templates import Filled
from core.templates.values import Template, TemplateNotUsable, TemplateUse
from core.words import Sentence, say

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


def fill_gaps(text: str, value_of: Callable[[Gap], str], *, is_ours: bool) -> str:
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


# Filling a template: from its texts and a caller's values to what is sent, or to everything that is wrong.


MAX_VARIABLES = 100
MAX_VALUE = 4_096
"""Characters of one value."""
HEADER_LIMIT, BODY_LIMIT = 60, 1_024
"""Characters of a company's header and body when filled: beyond them Meta answers 132005."""
# Meta refuses them in a parameter with 132018; so do we, before anything is stored.
_UNEVEN = re.compile(r"[\n\r\t\v\f\x85\u2028\u2029]| {5}")


def check_variables(given: Sequence[tuple[str, str]], path: Sequence[str]) -> list[AppError]:
    """Say what is wrong with values whatever the template is: doubled, too many, too long, unsendable."""
    here = [*path, "variables"]
    if len(given) > MAX_VARIABLES:
        text = say(
            "TOO_MANY_VARIABLES",
            "You gave {count} variables; a template accepts at most {most}.",
            count=len(given),
            most=MAX_VARIABLES,
        )
        return [InvalidInput(text, path=here, rule=InputRule.TOO_LONG)]
    errors: list[AppError] = []
    seen: set[str] = set()
    for position, (name, value) in enumerate(given):
        place = [*here, str(position)]
        if name in seen:
            text = say("VARIABLE_GIVEN_TWICE", "The variable {name} is given twice. Give each once.", name=_shown(name))
            errors.append(InvalidInput(text, path=[*place, "key"], rule=InputRule.NOT_ALLOWED))
        elif len(value) > MAX_VALUE and refused_in_text(value) is None:
            text = say(
                "VARIABLE_TOO_LONG",
                "The value has {count} characters; the limit is {most}.",
                count=len(value),
                most=MAX_VALUE,
            )
            errors.append(InvalidInput(text, path=[*place, "value"], rule=InputRule.TOO_LONG))
        seen.add(name)
        for part, word in (("key", name), ("value", value)):
            try:
                check_text(word, [*place, part])
            except InvalidInput as error:
                errors.append(error)
    return errors


def fill(template: Template, given: Sequence[tuple[str, str]], path: Sequence[str]) -> Content:
    """Fill every gap. Raises TemplateNotUsable for missing values, Refused for those that cannot be; never else."""
    values = {name: value for name, value in given if value.strip()}
    if errors := [*_unknown(template, given, path), *_unfit(template, given, path)]:
        raise Refused(errors)
    wanted = variables_of(template)
    if missing := [one.name for one in wanted if one.is_required and one.name not in values]:
        words = say(
            "VARIABLES_MISSING",
            "The template {template} needs a value for {missing}.",
            template=template.name,
            missing=", ".join(missing),
        )
        raise TemplateNotUsable(words, template=template, path=path, missing=missing)
    return _ours(template, values) if template.is_ours else _theirs(template, values, path)


def _unknown(template: Template, given: Sequence[tuple[str, str]], path: Sequence[str]) -> list[AppError]:
    known = [one.name for one in variables_of(template)]
    return [
        InvalidInput(
            _no_gap(template.name, name, known),
            path=[*path, "variables", str(position), "key"],
            rule=InputRule.NOT_ALLOWED,
        )
        for position, (name, _) in enumerate(given)
        if name not in known
    ]


def _no_gap(template: str, name: str, known: Sequence[str]) -> Sentence:
    if not known:
        return say(
            "TEMPLATE_HAS_NO_GAPS",
            "The template {template} has no variable {name}; it has no variables.",
            template=template,
            name=_shown(name),
        )
    return say(
        "VARIABLE_UNKNOWN",
        "The template {template} has no variable {name}; it has {known}.",
        template=template,
        name=_shown(name),
        known=", ".join(known),
    )


def _unfit(template: Template, given: Sequence[tuple[str, str]], path: Sequence[str]) -> list[AppError]:
    """Values that would break what they stand in."""
    in_subject = {gap.name for gap in gaps_of(template.subject or "", is_ours=True)}
    errors: list[AppError] = []
    for position, (name, value) in enumerate(given):
        if not template.is_ours and _UNEVEN.search(value):
            text = say(
                "VARIABLE_UNEVEN",
                "{channel} does not accept line breaks, tabs or five spaces in a row in a template variable.",
                channel=template.channel,
            )
        elif template.is_ours and name in in_subject and (found := refused_on_line(value)):
            text = say(
                "VARIABLE_BREAKS_SUBJECT",
                "{name} is part of the subject, which is one line, and contains {character} at character {position}.",
                name=_shown(name),
                character=found[0],
                position=found[1],
            )
        else:
            continue
        place = [*path, "variables", str(position), "value"]
        errors.append(InvalidInput(text, path=place, rule=InputRule.MALFORMED))
    return errors


def _ours(template: Template, values: Mapping[str, str]) -> Content:
    def plain(gap: Gap) -> str:
        return values.get(gap.name, gap.default or "")

    def escaped(gap: Gap) -> str:
        return html.escape(plain(gap))

    body = fill_gaps(template.body, plain, is_ours=True)
    if template.channel is not Channel.EMAIL:
        return TextContent(body)
    rich = None if template.html is None else fill_gaps(template.html, escaped, is_ours=True)
    return EmailContent(fill_gaps(template.subject or "", plain, is_ours=True), body, rich)


def _theirs(template: Template, values: Mapping[str, str], path: Sequence[str]) -> TemplateContent:
    def in_header(gap: Gap) -> str:
        return values[header_variable(gap.name)]

    def in_body(gap: Gap) -> str:
        return values[gap.name]

    header = fill_gaps(template.header or "", in_header, is_ours=False)
    body = fill_gaps(template.body, in_body, is_ours=False)
    for name, text, limit in (("header", header, HEADER_LIMIT), ("body", body, BODY_LIMIT)):
        if len(text) > limit:
            words = say(
                "TEMPLATE_TOO_LONG_FILLED",
                "With its values filled in, the {part} has {count} characters; {channel} accepts at most {most}.",
                part=name,
                count=len(text),
                channel=template.channel,
                most=limit,
            )
            raise Refused([InvalidInput(words, path=[*path, "variables"], rule=InputRule.TOO_LONG)])
    return TemplateContent(
        name=template.name,
        locale=template.locale,
        header=[(_parameter(gap), in_header(gap)) for gap in _in_order(template.header)],
        body=[(_parameter(gap), in_body(gap)) for gap in _in_order(template.body)],
        buttons=[
            ButtonParameter(one.index, one.kind, values[button_variable(one.index, one.kind)])
            for one in template.buttons
        ],
        rendered="\n".join(text for text in (header, body) if text),
    )


def _in_order(text: str | None) -> list[Gap]:
    """Numbered gaps by their number, which is how a company counts parameters; named ones as they stand."""
    gaps = gaps_of(text or "", is_ours=False)
    if all(gap.name.isdecimal() for gap in gaps):
        return sorted(gaps, key=lambda gap: int(gap.name))
    return gaps


def _parameter(gap: Gap) -> str | None:
    return None if gap.name.isdecimal() else gap.name


def _shown(name: str) -> str:
    return repr(name if len(name) <= 40 else f"{name[:37]}…")


# Using a template in a message: found within the tenant, filled, and fit for every channel of the route.


_USABLE = (TemplateApproval.NOT_NEEDED, TemplateApproval.APPROVED)


@dataclass(frozen=True, slots=True)
class Wording:
    """What a draft says, or what is wrong with its words.

    `may_have_passed` when only the template's present state stands against it: yesterday it may have been another.
    """

    content: Content | None = None
    filled: Filled | None = None
    errors: Sequence[AppError] = ()
    may_have_passed: bool = False

    def to_json(self) -> str:
        """Write it down for the sealed column; nothing where there are no words."""
        return "" if self.content is None else content_to_json(self.content, self.filled)


def word_draft(
    wanted: Content | TemplateUse, route: Sequence[Channel], path: Sequence[str], templates: Mapping[UUID, Template]
) -> Wording:
    """Give the words of a draft, a template's gaps filled; `templates` are those its tenant has."""
    if not isinstance(wanted, TemplateUse):
        return Wording(wanted, errors=_unfit_for_route(wanted, route, path))
    here = [*path, "template"]
    if errors := check_variables(wanted.variables, here):
        return Wording(errors=errors)
    template = None if wanted.id is None else templates.get(wanted.id)
    if template is None:
        return Wording(errors=[_not_found(wanted, here)])
    try:
        return _filled(template, wanted, route, path)
    except Refused as error:
        return Wording(errors=error.errors, may_have_passed=True)
    except TemplateNotUsable as error:
        return Wording(errors=[error], may_have_passed=True)


def _filled(template: Template, wanted: TemplateUse, route: Sequence[Channel], path: Sequence[str]) -> Wording:
    here = [*path, "template"]
    if template.approval not in _USABLE:
        raise TemplateNotUsable(_why_not(template), template=template, path=here)
    _check_route(template, route, here)
    content = fill(template, wanted.variables, here)
    if errors := _unfit_for_route(content, route, path):
        return Wording(errors=errors, may_have_passed=True)
    return Wording(content, Filled(template.id, dict(wanted.variables)))


def _why_not(template: Template) -> Sentence:
    match template.approval:
        case TemplateApproval.PENDING:
            return say(
                "TEMPLATE_NOT_APPROVED",
                "The template {template} ({locale}) is not approved yet: it cannot be sent.",
                template=template.name,
                locale=template.locale,
            )
        case TemplateApproval.PAUSED:
            return say(
                "TEMPLATE_PAUSED",
                "The template {template} ({locale}) is paused because of its low quality rating: it cannot be sent"
                " until the pause ends.",
                template=template.name,
                locale=template.locale,
            )
        case TemplateApproval.DISABLED:
            return say(
                "TEMPLATE_DISABLED",
                "The template {template} ({locale}) was disabled, archived or deleted: it cannot be sent.",
                template=template.name,
                locale=template.locale,
            )
        case _:
            return say(
                "TEMPLATE_REJECTED",
                "The template {template} ({locale}) was rejected: it cannot be sent.",
                template=template.name,
                locale=template.locale,
            )


def _check_route(template: Template, route: Sequence[Channel], path: Sequence[str]) -> None:
    if route and template.channel not in route:
        words = say(
            "TEMPLATE_OFF_ROUTE",
            "The template {template} is for {channel}, which is not in the route.",
            template=template.name,
            channel=template.channel,
        )
        raise TemplateNotUsable(words, template=template, path=path)
    # Between a telephone's channels its words can travel as plain text; an e-mail has a subject, and they have none.
    is_mail = template.channel is Channel.EMAIL
    if odd := next((channel for channel in route if (channel is Channel.EMAIL) != is_mail), None):
        words = say(
            "TEMPLATE_UNFIT_FOR_CHANNEL",
            "The template {template} is for {channel}; {other} cannot send it.",
            template=template.name,
            channel=template.channel,
            other=odd,
        )
        raise TemplateNotUsable(words, template=template, path=path)


def _unfit_for_route(content: Content, route: Sequence[Channel], path: Sequence[str]) -> list[AppError]:
    for channel in route:
        try:
            check_content(content, channel, path=path)
        except InvalidInput as error:
            return [error]
    return []


def _not_found(wanted: TemplateUse, path: Sequence[str]) -> NotFound:
    text = say("TEMPLATE_NOT_FOUND", "There is no such template.")
    return NotFound(text, id=wanted.written, path=path)
