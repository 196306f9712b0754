"""Using a template in a message: found within the tenant, filled, and fit for every channel of the route."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from core.errors import AppError, InvalidInput, NotFound, Refused
from core.messages.content import check_content, content_to_json
from core.ports import Channel, Content, TemplateApproval
from core.templates.fill import check_variables, fill
from core.templates.values import Filled, Template, TemplateNotUsable, TemplateUse
from core.words import Sentence, say

_USABLE = (TemplateApproval.NOT_NEEDED, TemplateApproval.APPROVED)


@dataclass(frozen=True, slots=True)
class Worded:
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


def word(
    wanted: Content | TemplateUse, route: Sequence[Channel], path: Sequence[str], templates: Mapping[UUID, Template]
) -> Worded:
    """Give the words of a draft, a template's gaps filled; `templates` are those its tenant has."""
    if not isinstance(wanted, TemplateUse):
        return Worded(wanted, errors=_unfit(wanted, route, path))
    here = [*path, "template"]
    if errors := check_variables(wanted.variables, here):
        return Worded(errors=errors)
    template = None if wanted.id is None else templates.get(wanted.id)
    if template is None:
        return Worded(errors=[_not_found(wanted, here)])
    try:
        return _filled(template, wanted, route, path)
    except Refused as error:
        return Worded(errors=error.errors, may_have_passed=True)
    except TemplateNotUsable as error:
        return Worded(errors=[error], may_have_passed=True)


def _filled(template: Template, wanted: TemplateUse, route: Sequence[Channel], path: Sequence[str]) -> Worded:
    here = [*path, "template"]
    if template.approval not in _USABLE:
        raise TemplateNotUsable(_why_not(template), template=template, path=here)
    _check_route(template, route, here)
    content = fill(template, wanted.variables, here)
    if errors := _unfit(content, route, path):
        return Worded(errors=errors, may_have_passed=True)
    return Worded(content, Filled(template.id, dict(wanted.variables)))


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
            "The template {template} is for {channel}, which the route does not name.",
            template=template.name,
            channel=template.channel,
        )
        raise TemplateNotUsable(words, template=template, path=path)
    # Between a telephone's channels its words can travel as plain text; an e-mail has a subject, and they have none.
    is_mail = template.channel is Channel.EMAIL
    if odd := next((channel for channel in route if (channel is Channel.EMAIL) != is_mail), None):
        words = say(
            "TEMPLATE_UNFIT_FOR_CHANNEL",
            "The template {template} is for {channel}: its words cannot go over {other}.",
            template=template.name,
            channel=template.channel,
            other=odd,
        )
        raise TemplateNotUsable(words, template=template, path=path)


def _unfit(content: Content, route: Sequence[Channel], path: Sequence[str]) -> list[AppError]:
    for channel in route:
        try:
            check_content(content, channel, path=path)
        except InvalidInput as error:
            return [error]
    return []


def _not_found(wanted: TemplateUse, path: Sequence[str]) -> NotFound:
    text = say("TEMPLATE_NOT_FOUND", "There is no such template. `templates` lists those there are.")
    return NotFound(text, id=wanted.written, path=path)
