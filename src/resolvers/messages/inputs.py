"""What a caller writes to send a message."""

import strawberry

from core.messages.accept import Draft
from core.ports import Channel, Content, EmailContent, TextContent
from resolvers.scalars import EmailAddress, PhoneNumber


@strawberry.input(one_of=True, description="Who it goes to: give exactly one.")
class RecipientInput:
    phone: PhoneNumber | None = strawberry.UNSET
    email: EmailAddress | None = strawberry.UNSET


@strawberry.input
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


@strawberry.input
class SendMessageInput:
    to: RecipientInput
    content: ContentInput
    route: list[RouteStepInput] = strawberry.field(
        description="The channels to try, in order. The first is the channel, the others are fallbacks."
    )
    idempotency_key: str | None = strawberry.field(
        default=strawberry.UNSET,
        description="The same key with the same input answers with the first message instead of sending a second;"
        " keys are kept seven days.",
    )


def draft_of(given: SendMessageInput) -> Draft:
    """The message as core takes it."""
    return Draft(
        content=_content(given.content),
        route=[step.channel for step in given.route],
        phone=given.to.phone or None if given.to.phone is not strawberry.UNSET else None,
        email=given.to.email if given.to.email is not strawberry.UNSET else None,
        idempotency_key=given.idempotency_key if given.idempotency_key is not strawberry.UNSET else None,
    )


def _content(given: ContentInput) -> Content:
    if given.email:
        return EmailContent(given.email.subject, given.email.plain_text or None, given.email.html or None)
    return TextContent(given.text or "")
