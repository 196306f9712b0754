"""A message as its caller wrote it, and the checks before it is stored: pure, and all errors are reported at once."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import select

from core.addresses import Address, email_address, phone_address, whatsapp_user_address
from core.audit.act import Author
from core.characters import line_errors, refused_on_line
from core.database import Database
from core.errors import AppError, InputRule, InvalidInput, NotConfigured, NotFound, NotSimulated, Refused
from core.messages.status import RouteGoal, Step, route_to_json
from core.messages.tables import messages
from core.ports import Channel, Content
from core.ports.content import check_content, content_to_json
from core.ports.identity import UNRESTRICTED, Reach
from core.templates import queries as templates
from core.templates.filling import Wording, word_draft
from core.templates.tables import Template, TemplateUse
from core.words import Sentence, say


@dataclass(frozen=True, slots=True)
class AnsweredMessage:
    """A message that a caller replies to: `written` is the given id, `id` its value, None if it is malformed."""

    written: str
    id: UUID | None


@dataclass(frozen=True, slots=True)
class Draft:
    """A message as the caller wrote it; exactly one of `phone`, `email` and `whatsapp_user_id` is the recipient.

    At most one of `send_at` and `send_after` is the schedule; `expires_in` counts from then. A rehearsal is checked and
    not stored. `reach` limits the recipients of the caller's messages; `author` is for the audit log.
    """

    content: Content | TemplateUse
    route: Sequence[Step]
    phone: str | None = None
    email: str | None = None
    whatsapp_user_id: str | None = None
    in_reply_to: AnsweredMessage | None = None
    idempotency_key: str | None = None
    external_id: str | None = None
    send_at: datetime | None = None
    send_after: timedelta | None = None
    expires_in: timedelta | None = None
    respects_quiet_hours: bool = False
    is_rehearsal: bool = False
    reach: Reach = UNRESTRICTED
    author: Author | None = None

    @property
    def recipient(self) -> str:
        """The recipient as it was written."""
        return self.phone or self.email or self.whatsapp_user_id or ""


@dataclass(frozen=True, slots=True)
class ChannelService:
    """The integration that serves a channel here; `advice` says what to do when it is not configured.

    `is_simulated` when no call leaves this machine.
    """

    integration: str
    is_configured: bool
    advice: str = ""
    is_simulated: bool = False


def canonical(draft: Draft, to: str) -> dict[str, Any]:
    """The JSON by which two requests are compared; `to` is the address in its one form.

    What was left out is not written, so that a new option does not make old requests different.
    """
    content = draft.content
    optional = {
        "inReplyTo": str(draft.in_reply_to.id or draft.in_reply_to.written) if draft.in_reply_to else None,
        "externalId": draft.external_id,
        "sendAt": draft.send_at.isoformat() if draft.send_at else None,
        "sendAfter": draft.send_after.total_seconds() if draft.send_after is not None else None,
        "expiresIn": draft.expires_in.total_seconds() if draft.expires_in is not None else None,
        "respectQuietHours": draft.respects_quiet_hours or None,
        # A request with a test key differs from the same request with a live key.
        "simulatedOnly": draft.reach.simulated_only or None,
    }
    return {
        "to": to,
        "content": content.canonical() if isinstance(content, TemplateUse) else content_to_json(content),
        "route": route_to_json(draft.route),
        **{name: value for name, value in optional.items() if value is not None},
    }


@dataclass(frozen=True, slots=True)
class Referenced:
    """The templates and messages of a tenant that drafts refer to; missing ones do not exist for the tenant."""

    templates: Mapping[UUID, Template] = field(default_factory=dict)
    messages: Collection[UUID] = frozenset()


async def load_referenced(database: Database, tenant: UUID, drafts: Sequence[Draft]) -> Referenced:
    """Read what drafts refer to, in at most two statements, and none where they refer to nothing.

    Raises Overloaded.
    """
    used = {one.content.id for one in drafts if isinstance(one.content, TemplateUse) and one.content.id is not None}
    answered = {one.in_reply_to.id for one in drafts if one.in_reply_to is not None and one.in_reply_to.id is not None}
    if not used and not answered:
        return Referenced()
    async with database.transaction(tenant) as connection:
        found = await templates.templates_by_id(connection, tenant, list(used)) if used else {}
        rows = await connection.execute(
            select(messages.c.id).where(messages.c.tenant_id == tenant, messages.c.id.in_(answered))
        )
        return Referenced(found, {row.id for row in rows})


_EXAMPLE = "[{channel: SMS}]"
MAX_STEPS = 10
MAX_EXTERNAL_ID = 255
SHORTEST_STEP, LONGEST_STEP = timedelta(seconds=1), timedelta(days=3)
SHORTEST_LIFE, LONGEST_LIFE = timedelta(seconds=10), timedelta(days=30)
FURTHEST = timedelta(days=366)
"""How far ahead a message can be scheduled."""


# ─── Checks ───────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class CheckedDraft:
    """A draft without errors.

    `objections` come from the current state, not from the draft, and count only if no earlier request has stored it
    already. `route` leaves out steps without a configured provider; `skipped` holds the reasons.
    """

    draft: Draft
    address: Address
    wording: Wording
    place: Sequence[str]
    route: Sequence[Step]
    objections: Sequence[AppError] = ()
    skipped: Sequence[AppError] = ()


def check_draft(
    draft: Draft,
    channels: Mapping[Channel, ChannelService],
    referenced: Referenced,
    place: Sequence[str] = ("input",),
    *,
    is_strict: bool = False,
) -> CheckedDraft:
    """Check a draft against what it refers to; `place` leads to it from the mutation's arguments.

    Steps without a configured provider are left out while others remain, unless `is_strict`. Raises Refused with all
    errors.
    """
    errors: list[AppError] = []
    address: Address | None = None
    try:
        address = read_address(draft, place)
    except InvalidInput as error:
        errors.append(error)
    wording = word_draft(
        draft.content, [step.channel for step in draft.route[:MAX_STEPS]], [*place, "content"], referenced.templates
    )
    errors += wording.errors
    found = list(_route_errors(draft.route, address, channels, [*place, "route"], draft.reach))
    served = draft.route if is_strict else served_steps(draft.route, channels) or draft.route
    skipped = [error for error in found if _is_absent(error)] if served is not draft.route else []
    errors += [error for error in found if error not in skipped]
    errors += _detail_errors(draft, place)
    passing: list[AppError] = [error for error in errors if isinstance(error, NotConfigured)]
    # The template may have been usable when an earlier request stored the message.
    passing += wording.errors if wording.may_have_passed else ()
    if address is not None and not draft.reach.allows(address.value):
        errors.append(_not_listed([*place, "to", _TO[address.kind]]))
    if len(errors) > len(passing) or address is None:
        raise Refused(errors)
    return CheckedDraft(
        draft, address, wording, place, served, [*passing, *_answer_errors(draft, referenced, place)], skipped
    )


def served_steps(route: Sequence[Step], channels: Mapping[Channel, ChannelService]) -> Sequence[Step]:
    """The steps whose provider is configured; the last of them has no time limit, since no step follows it."""
    served = [step for step in route if channels[step.channel].is_configured]
    if len(served) == len(route):
        return route
    return [*served[:-1], replace(served[-1], within=None)] if served else []


def _is_absent(error: AppError) -> bool:
    """Whether a step has no configured provider; a provider that a test key may not use is configured."""
    return isinstance(error, NotConfigured) and not isinstance(error, NotSimulated)


def check_route(
    route: Sequence[Step],
    content: Content,
    address: Address,
    channels: Mapping[Channel, ChannelService],
    place: Sequence[str],
    reach: Reach,
) -> None:
    """Check a new route for a stored message; raises Refused with all errors.

    Steps without a configured provider are left out when it is sent, while others remain.
    """
    errors = list(_route_errors(route, address, channels, place, reach))
    if served_steps(route, channels):
        errors = [error for error in errors if not _is_absent(error)]
    for position, step in enumerate(route[:MAX_STEPS]):
        try:
            check_content(content, step.channel, path=[*place, str(position), "channel"])
        except InvalidInput as error:
            text = say(
                "CONTENT_UNFIT_FOR_CHANNEL",
                "{channel} cannot send this content: {reason}",
                channel=step.channel,
                reason=error.message,
            )
            errors.append(InvalidInput(text, path=[*place, str(position), "channel"], rule=InputRule.NOT_ALLOWED))
    if errors:
        raise Refused(errors)


_TO = {"phone": "phone", "email": "email", "whatsapp-user": "whatsappUserId"}


def _not_listed(path: Sequence[str]) -> InvalidInput:
    text = say(
        "RECIPIENT_NOT_LISTED",
        "This API key may send only to the recipients on its allow list, and this recipient is not on it.",
    )
    return InvalidInput(text, path=path, rule=InputRule.NOT_ALLOWED)


def _answer_errors(draft: Draft, referenced: Referenced, place: Sequence[str]) -> Iterator[AppError]:
    answered = draft.in_reply_to
    if answered is not None and answered.id not in referenced.messages:
        text = say("ANSWERED_NOT_FOUND", "There is no such message to answer. Give the id of one you sent or received.")
        yield NotFound(text, id=answered.written, path=[*place, "inReplyTo"])


def read_address(draft: Draft, place: Sequence[str]) -> Address:
    """Read a draft's recipient; raises InvalidInput."""
    if draft.phone is not None:
        return phone_address(draft.phone, path=[*place, "to", "phone"])
    if draft.whatsapp_user_id is not None:
        return whatsapp_user_address(draft.whatsapp_user_id, path=[*place, "to", "whatsappUserId"])
    return email_address(draft.email or "", path=[*place, "to", "email"])


def _route_errors(
    route: Sequence[Step],
    address: Address | None,
    channels: Mapping[Channel, ChannelService],
    path: Sequence[str],
    reach: Reach,
) -> Iterator[AppError]:
    if not route:
        text = say("ROUTE_EMPTY", "The route is empty. Give at least one channel, like {example}.", example=_EXAMPLE)
        yield InvalidInput(text, path=path, rule=InputRule.REQUIRED)
    if len(route) > MAX_STEPS:
        text = say("ROUTE_TOO_LONG", "A route has at most {most} steps.", most=MAX_STEPS)
        yield InvalidInput(text, path=path, rule=InputRule.TOO_LONG)
        return
    for position, step in enumerate(route):
        here, channel = [*path, str(position)], step.channel
        if any(earlier.channel is channel for earlier in route[:position]):
            text = say("CHANNEL_TWICE", "{channel} is in the route twice. Give each channel once.", channel=channel)
            yield InvalidInput(text, path=[*here, "channel"], rule=InputRule.NOT_ALLOWED)
        elif address is not None and not address.serves(channel):
            yield InvalidInput(_needed(channel), path=[*here, "channel"], rule=InputRule.NOT_ALLOWED)
        elif not (service := channels[channel]).is_configured:
            yield NotConfigured(service.advice, integration=service.integration, path=[*here, "channel"])
        elif reach.simulated_only and not service.is_simulated:
            yield NotSimulated(integration=service.integration, path=[*here, "channel"])
        yield from _step_errors(step, is_last=position + 1 == len(route), here=here)


def _needed(channel: Channel) -> Sentence:
    if channel is Channel.EMAIL:
        return say("CHANNEL_NEEDS_EMAIL", "{channel} needs an e-mail address in `to`.", channel=channel)
    return say("CHANNEL_NEEDS_PHONE", "{channel} needs a telephone number in `to`.", channel=channel)


def _step_errors(step: Step, *, is_last: bool, here: Sequence[str]) -> Iterator[AppError]:
    if step.channel is Channel.EMAIL and step.until is RouteGoal.DELIVERED:
        text = say(
            "EMAIL_HAS_NO_DELIVERY",
            "Mail servers do not report deliveries, so an e-mail reaches SENT at most. Leave `until` out.",
        )
        yield InvalidInput(text, path=[*here, "until"], rule=InputRule.NOT_ALLOWED)
    if step.within is None:
        return
    path = [*here, "within"]
    if is_last:
        text = say(
            "WITHIN_ON_LAST_STEP",
            "The last step has no step after it. Leave `within` out, or give `expiresIn`.",
        )
        yield InvalidInput(text, path=path, rule=InputRule.NOT_ALLOWED)
    elif not SHORTEST_STEP <= step.within <= LONGEST_STEP:
        text = say("WITHIN_OUT_OF_RANGE", "`within` must be from PT1S to P3D.")
        yield InvalidInput(text, path=path, rule=InputRule.OUT_OF_RANGE)


def _detail_errors(draft: Draft, place: Sequence[str]) -> Iterator[AppError]:
    if draft.external_id is not None:
        yield from _external_id_errors(draft.external_id, [*place, "externalId"])
    if draft.expires_in is not None and not SHORTEST_LIFE <= draft.expires_in <= LONGEST_LIFE:
        text = say("EXPIRY_OUT_OF_RANGE", "`expiresIn` must be from PT10S (ten seconds) to P30D (thirty days).")
        yield InvalidInput(text, path=[*place, "expiresIn"], rule=InputRule.OUT_OF_RANGE)
    if draft.send_after is not None and draft.send_after > FURTHEST:
        text = say("TOO_FAR_AHEAD", "A message can be scheduled at most {days} days ahead.", days=FURTHEST.days)
        yield InvalidInput(text, path=[*place, "schedule", "after"], rule=InputRule.OUT_OF_RANGE)


def _external_id_errors(given: str, path: Sequence[str]) -> Iterator[AppError]:
    if refused_on_line(given):
        yield from line_errors(given, path)
    elif not given.strip():
        text = say("EXTERNAL_ID_EMPTY", "The external id is empty. Leave it out, or give 1 to 255 characters.")
        yield InvalidInput(text, path=path, rule=InputRule.TOO_SHORT)
    elif len(given) > MAX_EXTERNAL_ID:
        text = say(
            "EXTERNAL_ID_TOO_LONG",
            "The external id has {count} characters; the limit is {most}.",
            count=len(given),
            most=MAX_EXTERNAL_ID,
        )
        yield InvalidInput(text, path=path, rule=InputRule.TOO_LONG)
