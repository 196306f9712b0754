"""What a caller writes to send a message."""

import strawberry

from core.messages.accept import Draft
from core.messages.replies import Answered
from core.messages.route import step
from core.ports import Channel, Content, EmailContent, TextContent
from core.templates.values import TemplateUse
from resolvers.arguments import given
from resolvers.identifiers import uuid_of
from resolvers.scalars import EmailAddress, PhoneNumber
from resolvers.tags import TagInput


@strawberry.input(one_of=True, description="Who it goes to: give exactly one.")
class RecipientInput:
    phone: PhoneNumber | None = strawberry.UNSET
    email: EmailAddress | None = strawberry.UNSET
    whatsapp_user_id: str | None = strawberry.field(
        default=strawberry.UNSET,
        description="WhatsApp's own id of a person, for who shows no number: `from` of a message they wrote.",
    )


@strawberry.input(description="An e-mail: a subject and one body or two.")
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
    idempotency_key: str | None = strawberry.field(
        default=strawberry.UNSET,
        description="The same key with the same input answers with the first message instead of sending a second;"
        " keys are kept seven days.",
    )


def draft_of(written: SendMessageInput) -> Draft:
    """The message as core takes it."""
    return Draft(
        content=_content(written.content),
        route=[step(one.channel) for one in written.route],
        phone=given(written.to.phone),
        email=given(written.to.email),
        whatsapp_user_id=given(written.to.whatsapp_user_id),
        in_reply_to=_answered(given(written.in_reply_to)),
        idempotency_key=given(written.idempotency_key),
    )


def _answered(written: strawberry.ID | None) -> Answered | None:
    return None if written is None else Answered(written, uuid_of(written, "Message"))


def _content(written: ContentInput) -> Content | TemplateUse:
    if template := given(written.template):
        variables = [(one.key, one.value) for one in template.variables]
        return TemplateUse(uuid_of(template.template_id, "Template"), template.template_id, variables)
    if email := given(written.email):
        return EmailContent(email.subject, given(email.plain_text), given(email.html))
    return TextContent(given(written.text) or "")
