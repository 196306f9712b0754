"""What a caller writes to send a message."""

import strawberry

from core.messages.accept import Draft
from core.messages.replies import Answered
from core.ports import Channel, Content, EmailContent, TextContent
from resolvers.arguments import given
from resolvers.identifiers import uuid_of
from resolvers.scalars import EmailAddress, PhoneNumber


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


@strawberry.input(one_of=True, description="What it says: give exactly one.")
class ContentInput:
    text: str | None = strawberry.UNSET
    email: EmailContentInput | None = strawberry.UNSET


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
        route=[step.channel for step in written.route],
        phone=given(written.to.phone),
        email=given(written.to.email),
        whatsapp_user_id=given(written.to.whatsapp_user_id),
        in_reply_to=_answered(given(written.in_reply_to)),
        idempotency_key=given(written.idempotency_key),
    )


def _answered(written: strawberry.ID | None) -> Answered | None:
    return None if written is None else Answered(written, uuid_of(written, "Message"))


def _content(written: ContentInput) -> Content:
    if email := given(written.email):
        return EmailContent(email.subject, given(email.plain_text), given(email.html))
    return TextContent(given(written.text) or "")
