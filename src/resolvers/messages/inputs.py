"""What a caller writes to send a message."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import strawberry

from core.audit.act import Author
from core.messages.status import RouteGoal, Step, UnconfirmedPolicy, make_step
from core.messages.validation import AnsweredMessage, Draft
from core.ports import Channel, Content, EmailContent, TextContent
from core.ports.principal import Reach
from core.privacy.person import Person, read_person
from core.templates.values import TemplateUse
from resolvers.fields import TagInput, given
from resolvers.global_ids import uuid_of
from resolvers.scalars import EmailAddress, PhoneNumber


@strawberry.input(one_of=True, description="Who it goes to: give exactly one.")
class RecipientInput:
    phone: PhoneNumber | None = strawberry.UNSET
    email: EmailAddress | None = strawberry.UNSET
    whatsapp_user_id: str | None = strawberry.field(
        default=strawberry.UNSET,
        description="WhatsApp's own id of a person, for who shows no number: `from` of a message they wrote.",
    )


def person_of(written: RecipientInput, path: Sequence[str]) -> Person:
    """Read who is meant, in whichever spelling; raises InvalidInput."""
    return read_person(
        phone=given(written.phone),
        email=given(written.email),
        whatsapp_user_id=given(written.whatsapp_user_id),
        path=path,
    )


@strawberry.input(
    description="An e-mail: a subject of at most 998 bytes, and one or two bodies of at most 200,000 characters in all."
)
class EmailContentInput:
    subject: str
    plain_text: str | None = strawberry.field(
        default=strawberry.UNSET, description="At least one of `plainText` and `html`."
    )
    html: str | None = strawberry.UNSET


@strawberry.input(description="A template, and what its gaps are filled with.")
class TemplateContentInput:
    template_id: strawberry.ID
    variables: list[TagInput] = strawberry.field(
        default_factory=list, description="A value for each gap: `variables` of the template names them."
    )


@strawberry.input(one_of=True, description="What it says: give exactly one.")
class ContentInput:
    text: str | None = strawberry.UNSET
    email: EmailContentInput | None = strawberry.UNSET
    template: TemplateContentInput | None = strawberry.UNSET


@strawberry.input(description="One channel of a route.")
class RouteStepInput:
    channel: Channel
    within: timedelta | None = strawberry.field(
        default=strawberry.UNSET,
        description="How long it has to reach `until` before the next step is tried, from `PT1S` to `P3D`."
        " Left out: only a failure moves on. Not for the last step, after which there is none.",
    )
    until: RouteGoal | None = strawberry.field(
        default=strawberry.UNSET,
        description="What it must reach. Left out: `DELIVERED`; `SENT` for e-mail, whose servers report no more.",
    )
    on_unconfirmed: UnconfirmedPolicy | None = strawberry.field(
        default=strawberry.UNSET,
        description="What to do when nobody can say whether it was sent. Left out: `WAIT`; `RESEND`, under the same"
        " Message-ID, for e-mail.",
    )


@strawberry.input(one_of=True, description="When it goes out: give exactly one.")
class ScheduleInput:
    at: datetime | None = strawberry.field(
        default=strawberry.UNSET, description="A moment, at most a year ahead; one just past is now."
    )
    after: timedelta | None = strawberry.field(
        default=strawberry.UNSET, description="So long from now, by the server's clock."
    )


@strawberry.input(description="One message to one person.")
class SendMessageInput:
    to: RecipientInput
    content: ContentInput
    route: list[RouteStepInput] = strawberry.field(
        description="The channels to try, in order. The first is the channel, the others are fallbacks."
    )
    in_reply_to: strawberry.ID | None = strawberry.field(
        default=strawberry.UNSET, description="The message this one answers: on WhatsApp it is shown quoted."
    )
    schedule: ScheduleInput | None = strawberry.field(default=strawberry.UNSET, description="Left out: at once.")
    respect_quiet_hours: bool = strawberry.field(
        default=False,
        description="Keep what would go out at night until the morning, where the number is at home; an e-mail by the"
        " organization's own time zone. A fallback and another try wait, too.",
    )
    idempotency_key: str | None = strawberry.field(
        default=strawberry.UNSET,
        description="The same key with the same input answers with the first message instead of sending a second;"
        " keys are kept seven days.",
    )
    external_id: str | None = strawberry.field(
        default=strawberry.UNSET,
        description="Your own name for it, at most 255 characters. It names one message for good: a second message with"
        " it is refused.",
    )
    expires_in: timedelta | None = strawberry.field(
        default=strawberry.UNSET,
        description="How long it is worth sending, from `PT10S` to `P30D` after it was handed in, or after its hour."
        " What has not gone out by then fails with `EXPIRED`.",
    )
    dry_run: bool = strawberry.field(
        default=False, description="Check everything and store nothing: `message` is null, `errors` say what is wrong."
    )


@strawberry.input(description="Up to 500 messages to be sent together. A request has at most 4 MiB.")
class SendMessagesInput:
    name: str | None = strawberry.field(default=strawberry.UNSET, description="To recognise it by; shown, not used.")
    messages: list[SendMessageInput]
    idempotency_key: str = strawberry.field(
        description="The same key with the same input answers with the first batch and stores what it may lack;"
        " keys are kept seven days."
    )


def draft_of(written: SendMessageInput, reach: Reach, author: Author) -> Draft:
    """The message as core takes it; `reach` is its caller's."""
    schedule = given(written.schedule) or ScheduleInput()
    return Draft(
        content=_content(written.content),
        route=[step_of(one) for one in written.route],
        phone=given(written.to.phone),
        email=given(written.to.email),
        whatsapp_user_id=given(written.to.whatsapp_user_id),
        in_reply_to=_answered(given(written.in_reply_to)),
        idempotency_key=given(written.idempotency_key),
        external_id=given(written.external_id),
        send_at=given(schedule.at),
        send_after=given(schedule.after),
        expires_in=given(written.expires_in),
        respects_quiet_hours=written.respect_quiet_hours,
        is_rehearsal=written.dry_run,
        reach=reach,
        author=author,
    )


def step_of(written: RouteStepInput) -> Step:
    """One step of a route as core takes it."""
    return make_step(
        written.channel,
        within=given(written.within),
        until=given(written.until),
        on_unconfirmed=given(written.on_unconfirmed),
    )


def _answered(written: strawberry.ID | None) -> AnsweredMessage | None:
    return None if written is None else AnsweredMessage(written, uuid_of(written, "Message"))


def _content(written: ContentInput) -> Content | TemplateUse:
    if template := given(written.template):
        variables = [(one.key, one.value) for one in template.variables]
        return TemplateUse(uuid_of(template.template_id, "Template"), template.template_id, variables)
    if email := given(written.email):
        return EmailContent(email.subject, given(email.plain_text), given(email.html))
    return TextContent(given(written.text) or "")
