"""The inputs to send a message."""

from datetime import datetime, timedelta

import strawberry

from core.audit.act import Author
from core.messages.status import RouteGoal, Step, UnconfirmedPolicy, make_step
from core.messages.validation import AnsweredMessage, Draft
from core.ports import Channel, Content, EmailContent, TextContent
from core.ports.identity import Reach
from core.templates.tables import TemplateUse
from resolvers.fields import TagInput, given
from resolvers.global_ids import uuid_of
from resolvers.inputs import RecipientInput


@strawberry.input(
    description="An e-mail: a subject of at most 998 bytes, and one or two bodies of at most 200,000 characters."
)
class EmailContentInput:
    subject: str
    plain_text: str | None = strawberry.field(
        default=strawberry.UNSET, description="At least one of `plainText` and `html`."
    )
    html: str | None = strawberry.UNSET


@strawberry.input(description="A template and the values of its variables.")
class TemplateContentInput:
    template_id: strawberry.ID
    variables: list[TagInput] = strawberry.field(
        default_factory=list, description="A value for each of the template's `variables`."
    )


@strawberry.input(one_of=True, description="The content. Give exactly one field.")
class ContentInput:
    text: str | None = strawberry.UNSET
    email: EmailContentInput | None = strawberry.UNSET
    template: TemplateContentInput | None = strawberry.UNSET


@strawberry.input(description="One channel of a route.")
class RouteStepInput:
    channel: Channel
    within: timedelta | None = strawberry.field(
        default=strawberry.UNSET,
        description=(
            "The time that it has to reach `until` before the next step starts, from `PT1S` to `P3D`. Default: "
            "only a failure starts the next step. Not allowed for the last step."
        ),
    )
    until: RouteGoal | None = strawberry.field(
        default=strawberry.UNSET,
        description=(
            "What it must reach. Default: `DELIVERED`; for e-mail `SENT`, because mail servers do not report "
            "deliveries."
        ),
    )
    on_unconfirmed: UnconfirmedPolicy | None = strawberry.field(
        default=strawberry.UNSET,
        description=(
            "What to do when it is not known whether it was sent. Default: `WAIT`; for e-mail `RESEND`, with the "
            "same Message-ID."
        ),
    )


@strawberry.input(one_of=True, description="When to send it. Give exactly one field.")
class ScheduleInput:
    at: datetime | None = strawberry.field(
        default=strawberry.UNSET, description="A time, at most one year ahead. A time that has just passed means now."
    )
    after: timedelta | None = strawberry.field(
        default=strawberry.UNSET, description="A delay from now, by the server's clock."
    )


@strawberry.input(description="One message to one person.")
class SendMessageInput:
    to: RecipientInput
    content: ContentInput
    route: list[RouteStepInput] = strawberry.field(
        description="The channels to try, in order. The first is preferred, the others are fallbacks."
    )
    in_reply_to: strawberry.ID | None = strawberry.field(
        default=strawberry.UNSET, description="The message that this one answers. WhatsApp shows it as a quote."
    )
    schedule: ScheduleInput | None = strawberry.field(default=strawberry.UNSET, description="Default: at once.")
    respect_quiet_hours: bool = strawberry.field(
        default=False,
        description=(
            "Do not send during quiet hours (at night) in the time zone of the number; for e-mail, in the time "
            "zone of the organization. Fallbacks and retries wait as well."
        ),
    )
    idempotency_key: str | None = strawberry.field(
        default=strawberry.UNSET,
        description=(
            "A repeated request with the same key and input returns the first message and sends no second one. "
            "Keys are kept for seven days."
        ),
    )
    external_id: str | None = strawberry.field(
        default=strawberry.UNSET,
        description=(
            "Your own id for it, at most 255 characters. It always names the same message: a second message with "
            "this id is refused."
        ),
    )
    expires_in: timedelta | None = strawberry.field(
        default=strawberry.UNSET,
        description=(
            "How long it may be sent: from `PT10S` to `P30D` after it was created, or after its scheduled time. If "
            "it was not sent by then, it fails with `EXPIRED`."
        ),
    )
    dry_run: bool = strawberry.field(
        default=False,
        description="True: check the input and store nothing. `message` is null, `errors` lists what is wrong.",
    )


@strawberry.input(description="Up to 500 messages to send together. A request has at most 4 MiB.")
class SendMessagesInput:
    name: str | None = strawberry.field(
        default=strawberry.UNSET, description="A name to recognise the batch by. It has no effect."
    )
    messages: list[SendMessageInput]
    idempotency_key: str = strawberry.field(
        description=(
            "A repeated request with the same key and input returns the first batch and stores missing messages. "
            "Keys are kept for seven days."
        )
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
