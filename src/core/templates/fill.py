"""Filling a template: from its texts and a caller's values to what is sent, or to everything that is wrong."""

import html
import re
from collections.abc import Mapping, Sequence

from core.characters import check_text, refused_in_text, refused_on_line
from core.errors import AppError, InputRule, InvalidInput, Refused
from core.ports import ButtonParameter, Channel, Content, EmailContent, TemplateContent, TextContent
from core.templates.gaps import Gap, button_variable, gaps_of, header_variable, put_in, variables_of
from core.templates.values import Template, TemplateNotUsable
from core.words import Sentence, say

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
            "There are {count} variables; a template takes at most {most}.",
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
                "The value has {count} characters; at most {most} fill a gap.",
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
            "The template {template} lacks {missing}: give each a value in `variables`.",
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
            "The template {template} has no gap {name}: it has none.",
            template=template,
            name=_shown(name),
        )
    return say(
        "VARIABLE_UNKNOWN",
        "The template {template} has no gap {name}: it has {known}.",
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
                "{channel} lets no line break, tab or five spaces in a row into a template's gap.",
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

    body = put_in(template.body, plain, is_ours=True)
    if template.channel is not Channel.EMAIL:
        return TextContent(body)
    rich = None if template.html is None else put_in(template.html, escaped, is_ours=True)
    return EmailContent(put_in(template.subject or "", plain, is_ours=True), body, rich)


def _theirs(template: Template, values: Mapping[str, str], path: Sequence[str]) -> TemplateContent:
    def in_header(gap: Gap) -> str:
        return values[header_variable(gap.name)]

    def in_body(gap: Gap) -> str:
        return values[gap.name]

    header = put_in(template.header or "", in_header, is_ours=False)
    body = put_in(template.body, in_body, is_ours=False)
    for name, text, limit in (("header", header, HEADER_LIMIT), ("body", body, BODY_LIMIT)):
        if len(text) > limit:
            words = say(
                "TEMPLATE_TOO_LONG_FILLED",
                "The {part} has {count} characters when filled; {channel} carries at most {most}.",
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
