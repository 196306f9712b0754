"""Filling a template: its placeholders, the caller's values, and the content for a route, or all errors.

Placeholders of our own templates are {{name}}, {{order.number}} (one name with a dot) and {{name|a default}}; those of
a provider's templates are {{1}} or {{name}}. Values are never evaluated.
"""

import html
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from core.characters import check_text, refused_in_text, refused_on_line
from core.errors import AppError, InputRule, InvalidInput, NotFound, Refused
from core.ports import ButtonParameter, Channel, Content, EmailContent, TemplateApproval, TemplateContent, TextContent
from core.ports.content import Filled, check_content, content_to_json
from core.templates.tables import Template, TemplateNotUsable, TemplateUse
from core.words import Sentence, say

_OWN_PLACEHOLDER = re.compile(r"\{\{ ?(\w+(?:\.\w+)*) ?(?:\|([^{}|]*))?\}\}")
_PROVIDER_PLACEHOLDER = re.compile(r"\{\{(\w+)\}\}")
ONE_TIME_CODE = "OTP"
"""The button that copies the code from the body, and so has no variable of its own."""


@dataclass(frozen=True, slots=True)
class Placeholder:
    """A placeholder; one with a default needs no value."""

    name: str
    default: str | None = None


@dataclass(frozen=True, slots=True)
class Variable:
    """A value that a caller may, or must, give for a template."""

    name: str
    is_required: bool
    example: str | None


def placeholders_of(text: str, *, is_ours: bool) -> list[Placeholder]:
    """The placeholders of a text, each name once, in the order of their first appearance."""
    found: dict[str, Placeholder] = {}
    for match in _pattern(is_ours).finditer(text):
        placeholder = _placeholder(match, is_ours)
        # A placeholder that has a default in one place and none in another needs a value.
        if placeholder.name not in found or placeholder.default is None:
            found[placeholder.name] = placeholder
    return list(found.values())


def fill_placeholders(text: str, value_of: Callable[[Placeholder], str], *, is_ours: bool) -> str:
    """Fill all placeholders in one pass: placeholders inside values are not filled."""
    return _pattern(is_ours).sub(lambda match: value_of(_placeholder(match, is_ours)), text)


def header_variable(placeholder: str) -> str:
    """The variable of a placeholder in a provider's header, where numbers begin again and names stay the same."""
    return f"header.{placeholder}" if placeholder.isdecimal() else placeholder


def button_variable(index: int, kind: str) -> str:
    """The variable of a button of a provider's template, counted from 0."""
    return "1" if kind == ONE_TIME_CODE else f"button.{index}"


def variables_of(template: Template) -> list[Variable]:
    """The variables of a template, each once."""
    found: dict[str, Placeholder] = {}
    for name, placeholder in _named_placeholders(template):
        if name not in found or placeholder.default is None:
            found[name] = placeholder
    return [Variable(name, one.default is None, _example(template, name, one)) for name, one in found.items()]


def _named_placeholders(template: Template) -> list[tuple[str, Placeholder]]:
    if template.is_ours:
        texts = (template.subject, template.body, template.html)
        return [
            (placeholder.name, placeholder)
            for text in texts
            for placeholder in placeholders_of(text or "", is_ours=True)
        ]
    header = [
        (header_variable(placeholder.name), placeholder)
        for placeholder in placeholders_of(template.header or "", is_ours=False)
    ]
    body = [(one.name, one) for one in placeholders_of(template.body, is_ours=False)]
    buttons = [(button_variable(one.index, one.kind), Placeholder("1")) for one in template.buttons]
    return [*header, *body, *buttons]


def _example(template: Template, name: str, placeholder: Placeholder) -> str | None:
    return template.examples.get(name, placeholder.default)


def _pattern(is_ours: bool) -> re.Pattern[str]:
    return _OWN_PLACEHOLDER if is_ours else _PROVIDER_PLACEHOLDER


def _placeholder(match: re.Match[str], is_ours: bool) -> Placeholder:
    return Placeholder(match[1], match[2] if is_ours else None)


MAX_VARIABLES = 100
MAX_VALUE = 4_096
"""Characters of one value."""
HEADER_LIMIT, BODY_LIMIT = 60, 1_024
"""Characters of a filled header and body of a provider's template: beyond them Meta answers 132005."""
# Meta refuses them in a parameter with 132018, so they are refused before anything is stored.
_BREAKS = re.compile(r"[\n\r\t\v\f\x85\u2028\u2029]| {5}")


def check_variables(given: Sequence[tuple[str, str]], path: Sequence[str]) -> list[AppError]:
    """Check values independently of the template: given twice, too many, too long, with refused characters."""
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
    """Fill a template. Raises TemplateNotUsable for missing values, Refused for unknown or unfit ones."""
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
    return _own_content(template, values) if template.is_ours else _provider_content(template, values, path)


def _unknown(template: Template, given: Sequence[tuple[str, str]], path: Sequence[str]) -> list[AppError]:
    known = [one.name for one in variables_of(template)]
    return [
        InvalidInput(
            _unknown_variable(template.name, name, known),
            path=[*path, "variables", str(position), "key"],
            rule=InputRule.NOT_ALLOWED,
        )
        for position, (name, _) in enumerate(given)
        if name not in known
    ]


def _unknown_variable(template: str, name: str, known: Sequence[str]) -> Sentence:
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
    """Errors of values that would break the text around them."""
    in_subject = {placeholder.name for placeholder in placeholders_of(template.subject or "", is_ours=True)}
    errors: list[AppError] = []
    for position, (name, value) in enumerate(given):
        if not template.is_ours and _BREAKS.search(value):
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


def _own_content(template: Template, values: Mapping[str, str]) -> Content:
    def plain(placeholder: Placeholder) -> str:
        return values.get(placeholder.name, placeholder.default or "")

    def escaped(placeholder: Placeholder) -> str:
        return html.escape(plain(placeholder))

    body = fill_placeholders(template.body, plain, is_ours=True)
    if template.channel is not Channel.EMAIL:
        return TextContent(body)
    rich = None if template.html is None else fill_placeholders(template.html, escaped, is_ours=True)
    return EmailContent(fill_placeholders(template.subject or "", plain, is_ours=True), body, rich)


def _provider_content(template: Template, values: Mapping[str, str], path: Sequence[str]) -> TemplateContent:
    def in_header(placeholder: Placeholder) -> str:
        return values[header_variable(placeholder.name)]

    def in_body(placeholder: Placeholder) -> str:
        return values[placeholder.name]

    header = fill_placeholders(template.header or "", in_header, is_ours=False)
    body = fill_placeholders(template.body, in_body, is_ours=False)
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
        header=[(_parameter(placeholder), in_header(placeholder)) for placeholder in _in_order(template.header)],
        body=[(_parameter(placeholder), in_body(placeholder)) for placeholder in _in_order(template.body)],
        buttons=[
            ButtonParameter(one.index, one.kind, values[button_variable(one.index, one.kind)])
            for one in template.buttons
        ],
        rendered="\n".join(text for text in (header, body) if text),
    )


def _in_order(text: str | None) -> list[Placeholder]:
    """Numbered placeholders by number, as providers count parameters; named ones in their order."""
    placeholders = placeholders_of(text or "", is_ours=False)
    if all(placeholder.name.isdecimal() for placeholder in placeholders):
        return sorted(placeholders, key=lambda placeholder: int(placeholder.name))
    return placeholders


def _parameter(placeholder: Placeholder) -> str | None:
    return None if placeholder.name.isdecimal() else placeholder.name


def _shown(name: str) -> str:
    return repr(name if len(name) <= 40 else f"{name[:37]}…")


_USABLE = (TemplateApproval.NOT_NEEDED, TemplateApproval.APPROVED)


@dataclass(frozen=True, slots=True)
class Wording:
    """The content of a draft, or its errors.

    `may_have_passed` when only the template's present state stands against it: yesterday it may have been another.
    """

    content: Content | None = None
    filled: Filled | None = None
    errors: Sequence[AppError] = ()
    may_have_passed: bool = False

    def to_json(self) -> str:
        """Encode it for the sealed column; empty where there is no content."""
        return "" if self.content is None else content_to_json(self.content, self.filled)


def word_draft(
    wanted: Content | TemplateUse, route: Sequence[Channel], path: Sequence[str], templates: Mapping[UUID, Template]
) -> Wording:
    """Return the content of a draft, with its template filled; `templates` are those of its tenant."""
    if not isinstance(wanted, TemplateUse):
        return Wording(wanted, errors=_unfit_for_route(wanted, route, path))
    here = [*path, "template"]
    if errors := check_variables(wanted.variables, here):
        return Wording(errors=errors)
    template = None if wanted.id is None else templates.get(wanted.id)
    if template is None:
        return Wording(errors=[_not_found(wanted, here)])
    try:
        return _fill_and_check(template, wanted, route, path)
    except Refused as error:
        return Wording(errors=error.errors, may_have_passed=True)
    except TemplateNotUsable as error:
        return Wording(errors=[error], may_have_passed=True)


def _fill_and_check(template: Template, wanted: TemplateUse, route: Sequence[Channel], path: Sequence[str]) -> Wording:
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
    # SMS and WhatsApp can carry each other's texts; an e-mail needs a subject, which their templates lack.
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
