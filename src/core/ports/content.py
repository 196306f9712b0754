"""What a message says: its content, checked against a channel's limits, and the templates of a provider's catalogue."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Protocol
from uuid import UUID

from core.characters import check_line, check_text
from core.errors import InputRule, InvalidInput
from core.ports.sending import ButtonParameter, Channel, Content, EmailContent, TemplateContent, TextContent
from core.words import say


class TemplateCategory(StrEnum):
    """What a template is for; providers and laws treat the three differently."""

    TRANSACTIONAL = "TRANSACTIONAL"
    MARKETING = "MARKETING"
    AUTHENTICATION = "AUTHENTICATION"


class TemplateApproval(StrEnum):
    """Whether the channel's provider has approved a template."""

    NOT_NEEDED = "NOT_NEEDED"
    PENDING = "PENDING"
    APPROVED = "APPROVED"
    PAUSED = "PAUSED"
    REJECTED = "REJECTED"
    DISABLED = "DISABLED"


@dataclass(frozen=True, slots=True)
class TemplateButton:
    """A button with a gap in it."""

    index: int
    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class ProviderTemplate:
    """A template in the provider's catalogue: texts with gaps, {{1}} or {{name}}; `examples` are by the gap's name."""

    provider_id: str
    name: str
    locale: str
    category: TemplateCategory
    approval: TemplateApproval
    body: str
    header: str | None = None
    buttons: Sequence[TemplateButton] = ()
    examples: Mapping[str, str] = field(default_factory=dict)


class TemplateCatalogue(Protocol):
    """Reads the templates in a provider's catalogue."""

    async def list(self) -> Sequence[ProviderTemplate]:
        """Read all of them, page by page; raises a ProviderError."""
        ...


@dataclass(frozen=True, slots=True)
class Filled:
    """Which template a message was made of, and what its gaps were filled with."""

    template_id: UUID
    variables: Mapping[str, str] = field(default_factory=dict)


# Message content: checked against a channel's limits, and encoded for its sealed column.


TEXT_LIMITS = {Channel.SMS: 1_600, Channel.WHATSAPP: 4_096}
"""Characters of one message: beyond them Twilio answers 21617, and Meta 100."""
SUBJECT_LIMIT = 998
"""Octets of a line in RFC 5322; a longer subject would have to be folded."""
EMAIL_LIMIT = 200_000
"""Characters of both bodies together."""


def check_content(content: Content, channel: Channel, *, path: Sequence[str]) -> None:
    """Raise InvalidInput unless the channel can carry the content as it is."""
    match content:
        case EmailContent():
            _check_email(content, channel, [*path, "email"])
        case TextContent():
            _check_text(content, channel, [*path, "text"])
        case TemplateContent() if channel is Channel.EMAIL:
            text = say(
                "EMAIL_HAS_NO_COMPANY_TEMPLATES",
                (
                    "{channel} does not use a provider's templates, and this template has no subject. Give `email` "
                    "instead."
                ),
                channel=channel,
            )
            raise InvalidInput(text, path=[*path, "template"], rule=InputRule.NOT_ALLOWED)
        case TemplateContent() if channel is not Channel.WHATSAPP:
            _check_text(TextContent(content.rendered), channel, [*path, "template"])


def content_for(content: Content, channel: Channel) -> Content:
    """The content for a channel: a channel without templates of a provider gets the rendered text."""
    if isinstance(content, TemplateContent) and channel is not Channel.WHATSAPP:
        return TextContent(content.rendered)
    return content


def rendered(content: Content | None) -> str:
    """The text that the recipient sees, as plain text where there is one."""
    match content:
        case TextContent(text):
            return text
        case EmailContent():
            return content.plain_text or content.html or ""
        case TemplateContent():
            return content.rendered
    return ""


def _check_text(content: TextContent, channel: Channel, path: Sequence[str]) -> None:
    if channel is Channel.EMAIL:
        text = say("EMAIL_NEEDS_SUBJECT", "An e-mail needs a subject: give `email` instead of `text`.")
        raise InvalidInput(text, path=path, rule=InputRule.NOT_ALLOWED)
    check_text(content.text, path)
    if not content.text.strip():
        raise InvalidInput(say("TEXT_EMPTY", "The text is empty."), path=path, rule=InputRule.REQUIRED)
    limit = TEXT_LIMITS[channel]
    if len(content.text) > limit:
        raise InvalidInput(
            say(
                "TEXT_TOO_LONG",
                "The text has {count} characters; {channel} accepts at most {most}. Shorten or split it.",
                count=len(content.text),
                channel=channel,
                most=limit,
            ),
            path=path,
            rule=InputRule.TOO_LONG,
        )


def _check_email(content: EmailContent, channel: Channel, path: Sequence[str]) -> None:
    if channel is not Channel.EMAIL:
        text = say(
            "CHANNEL_CARRIES_TEXT", "{channel} accepts plain text: give `text` instead of `email`.", channel=channel
        )
        raise InvalidInput(text, path=path, rule=InputRule.NOT_ALLOWED)
    subject_path = [*path, "subject"]
    check_line(content.subject, subject_path)
    if not content.subject.strip():
        raise InvalidInput(say("SUBJECT_EMPTY", "The subject is empty."), path=subject_path, rule=InputRule.REQUIRED)
    if len(content.subject.encode()) > SUBJECT_LIMIT:
        text = say("SUBJECT_TOO_LONG", "The subject is longer than {most} bytes.", most=SUBJECT_LIMIT)
        raise InvalidInput(text, path=subject_path, rule=InputRule.TOO_LONG)
    _check_bodies(content, path)


def _check_bodies(content: EmailContent, path: Sequence[str]) -> None:
    bodies = {"plainText": content.plain_text, "html": content.html}
    for name, body in bodies.items():
        check_text(body or "", [*path, name])
    if not any(body and body.strip() for body in bodies.values()):
        text = say("BODY_MISSING", "Give at least one of `plainText` and `html`.")
        raise InvalidInput(text, path=path, rule=InputRule.REQUIRED)
    total = sum(len(body or "") for body in bodies.values())
    if total > EMAIL_LIMIT:
        raise InvalidInput(
            say(
                "BODY_TOO_LONG",
                "`plainText` and `html` together have {count} characters; the limit is {most}.",
                count=total,
                most=EMAIL_LIMIT,
            ),
            path=path,
            rule=InputRule.TOO_LONG,
        )


def content_to_json(content: Content, filled: Filled | None = None) -> str:
    """Encode content for its sealed column, with the template and variables it was filled from."""
    data: dict[str, Any] = {"text": content.text} if isinstance(content, TextContent) else {}
    if isinstance(content, EmailContent):
        data = {"subject": content.subject, "plainText": content.plain_text, "html": content.html}
    if isinstance(content, TemplateContent):
        data = {"template": asdict(content)}
    if filled is not None:
        data["filled"] = {"template": str(filled.template_id), "variables": dict(filled.variables)}
    return json.dumps(data)


def content_from_json(text: str) -> Content:
    """Decode what `content_to_json` wrote."""
    data = json.loads(text)
    if "text" in data:
        return TextContent(data["text"])
    if "template" in data:
        return _template(data["template"])
    return EmailContent(data["subject"], data["plainText"], data["html"])


def filled_from_json(text: str) -> Filled | None:
    """Decode the template and variables of a message; None for one without a template."""
    data = json.loads(text).get("filled")
    return Filled(UUID(data["template"]), data["variables"]) if data else None


def _template(data: Mapping[str, Any]) -> TemplateContent:
    return TemplateContent(
        data["name"],
        data["locale"],
        [(name, text) for name, text in data["header"]],
        [(name, text) for name, text in data["body"]],
        [ButtonParameter(**button) for button in data["buttons"]],
        data["rendered"],
    )
