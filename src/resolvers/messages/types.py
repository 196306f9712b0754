"""The GraphQL types of messages, their contents, attempts and events."""

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Optional
from uuid import UUID

import strawberry

from core.errors import FailureParty, FailureReason, Unreadable
from core.masking import mask_id
from core.messages import queries
from core.messages.queries import AttemptView, EventSlice, EventView
from core.messages.status import (
    AttemptOutcome,
    Direction,
    EventSource,
    MessageStatus,
    RouteGoal,
    RouteOutcome,
    UnconfirmedPolicy,
)
from core.ports import Channel, EmailContent, Failure, TemplateContent, TextContent
from core.ports.content import rendered
from core.ports.identity import Scope
from core.segments import count_segments
from resolvers.context import Info, sealed_asked_for
from resolvers.fields import Node, Tag, computed, given
from resolvers.global_ids import from_global_id, to_global_id
from resolvers.integrations import Integration, integration_of
from resolvers.pagination import PageInfo, bad_cursor, page_arguments
from resolvers.templates.types import Template, template_by_id

if TYPE_CHECKING:
    from resolvers.messages.queries import MessageBatch


_CURSOR = "EventCursor"


@strawberry.type(description="One event of a message.")
class MessageEvent(Node):
    status: MessageStatus = strawberry.field(description="The status after the event.")
    channel: Channel | None
    detail: str | None
    source: EventSource
    at: datetime


@strawberry.type(description="One event of a page, and its cursor.")
class MessageEventEdge:
    cursor: str
    node: MessageEvent


@strawberry.type(description="One page of a message's events.")
class MessageEventConnection:
    edges: list[MessageEventEdge]
    nodes: list[MessageEvent]
    page_info: PageInfo


def event_of(view: EventView) -> MessageEvent:
    """An event as clients see it."""
    return MessageEvent(
        id=to_global_id("MessageEvent", view.message_id.bytes + view.sequence.to_bytes(8, "big")),
        status=view.status,
        channel=view.channel,
        detail=view.detail,
        source=view.source,
        at=view.at,
    )


async def events_page(
    info: Info, message_id: UUID, first: int | None, after: str | None, last: int | None, before: str | None
) -> MessageEventConnection:
    """Read one page of a message's events; raises InvalidInput."""
    page = page_arguments(first, last)
    which = EventSlice(page.limit, _read(after, "after"), _read(before, "before"), page.is_backward)
    found = await info.context.events.load((message_id, which))
    kept = found[: page.limit]
    events = kept[::-1] if page.is_backward else kept
    edges = [MessageEventEdge(cursor=_write(view.sequence), node=event_of(view)) for view in events]
    has_cursor = (before if page.is_backward else after) is not None
    return MessageEventConnection(
        edges=edges,
        nodes=[edge.node for edge in edges],
        page_info=page.page_info(
            [edge.cursor for edge in edges], has_more=len(found) > page.limit, has_cursor=has_cursor
        ),
    )


def _write(sequence: int) -> str:
    return to_global_id(_CURSOR, sequence.to_bytes(8, "big"))


def _read(cursor: str | None, name: str) -> int | None:
    if cursor is None:
        return None
    found = from_global_id(cursor)
    if found is None or found[0] != _CURSOR or len(found[1]) != 8 or found[1][0] >= 0x80:
        raise bad_cursor(name)
    return int.from_bytes(found[1], "big")


# Messages with their contents and attempts.


@strawberry.type(name="TextContent", description="Plain text.")
class Text:
    text: str
    segments: int | None = strawberry.field(description="The number of SMS segments that the provider bills.")


@strawberry.type(name="EmailContent", description="An e-mail: a subject, and a plain-text body, an HTML body or both.")
class Email:
    subject: str
    plain_text: str | None
    html: str | None


@strawberry.type(name="TemplateContent", description="A template with its values filled in.")
class FilledTemplate:
    template_id: strawberry.Private[UUID]
    variables: list[Tag]
    rendered: str = strawberry.field(description="The text that the recipient sees.")

    @computed()
    async def template(self, info: Info) -> Template:
        found = await template_by_id(info, self.template_id)
        if found is None:
            raise LookupError("a template was deleted, which is not allowed")
        return found


MessageContent = Annotated[
    Text | Email | FilledTemplate, strawberry.union("MessageContent", description="The content of a message.")
]


@strawberry.type(description="One channel of a message's route.")
class RouteStep:
    row: strawberry.Private[queries.Message]
    place: strawberry.Private[int]
    channel: Channel
    within: timedelta | None = strawberry.field(
        description=(
            "The time that it has to reach `until` before the next step starts. Null: only a failure starts the "
            "next step."
        )
    )
    until: RouteGoal
    on_unconfirmed: UnconfirmedPolicy

    @computed("The outcome of this step.")
    async def outcome(self, info: Info) -> RouteOutcome:
        return queries.step_outcomes(self.row, await info.context.attempts.load(self.row.id))[self.place]


@strawberry.type(description="Why a message did not arrive.")
class DeliveryFailure:
    reason: FailureReason
    message: str
    provider_code: str | None = strawberry.field(description="The provider's own code.")
    is_transient: bool = strawberry.field(description="Whether a retry could succeed.")
    party: FailureParty = strawberry.field(description="Who can fix the cause.")


@strawberry.type(description="One call to a provider to deliver a message.")
class MessageAttempt(Node):
    number: int
    channel: Channel
    integration: Integration
    outcome: AttemptOutcome
    provider_message_id: str | None = strawberry.field(
        description=(
            "The provider's id of the message. An id that contains the person's number, as WhatsApp's do, is "
            "masked without `CONTACTS_READ`."
        )
    )
    failure: DeliveryFailure | None
    answer: str | None = strawberry.field(
        description="The provider's answer, reduced to codes and ids, without texts or addresses."
    )
    started_at: datetime
    duration_ms: float | None


def _check_readable(row: queries.Message, part: str) -> None:
    """Raise Unreadable for a part that is kept and cannot be opened here: the field is null, and the page goes on."""
    if part in row.unreadable:
        raise Unreadable(row.unreadable[part])


def _account_for_none(info: Info, row: queries.Message) -> None:
    """Say why there is no content: it was erased, or the caller may cancel messages and not read them."""
    if row.erased_at is None:
        info.context.require(Scope.MESSAGES_READ)
        raise LookupError("content was not read with its message")


@strawberry.type(description="One message to or from one person, with all its channels and attempts.")
class Message(Node):
    row: strawberry.Private[queries.Message]
    direction: Direction
    status: MessageStatus
    channel: Channel = strawberry.field(description="The channel of its last attempt, or of the next one.")
    route: list[RouteStep] = strawberry.field(
        description="The channels that it may use, in order. The later ones are fallbacks."
    )
    to_masked: str = strawberry.field(description="The recipient's number or address, masked: `+55 11 9••••-4321`.")
    from_masked: str | None = strawberry.field(description="The sender of an inbound message, masked.")
    send_at: datetime | None = strawberry.field(description="The scheduled time.")
    next_attempt_at: datetime | None = strawberry.field(description="The time of the next attempt, if one is planned.")
    next_look_at: datetime | None = strawberry.field(
        description="While it is `UNCONFIRMED`: the time of the next look-up, or of the route's decision."
    )
    expires_at: datetime | None = strawberry.field(description="After this time it is not sent any more.")
    external_id: str | None = strawberry.field(description="Your own id for it.")
    failure: DeliveryFailure | None = strawberry.field(
        description="Why it failed; or why its last attempt failed, while it waits for the next one."
    )
    created_at: datetime
    updated_at: datetime
    sent_at: datetime | None
    delivered_at: datetime | None
    read_at: datetime | None
    erased_at: datetime | None = strawberry.field(
        description="The time when its content or addresses were erased. Its events are kept."
    )

    @computed("The full number or address. Null after it was erased.", scope=Scope.CONTACTS_READ)
    def to(self) -> str | None:
        _check_readable(self.row, "to")
        return self.row.to

    @computed("The sender of an inbound message.", name="from", scope=Scope.CONTACTS_READ)
    def sender(self) -> str | None:
        _check_readable(self.row, "from")
        return self.row.sender

    @computed("The content. Null after it was erased. The payloads of mutations show it only with `MESSAGES_READ`.")
    def content(self, info: Info) -> MessageContent | None:
        _check_readable(self.row, "content")
        if (filled := self.row.filled) is not None:
            variables = [Tag(key=key, value=value) for key, value in filled.variables.items()]
            return FilledTemplate(
                template_id=filled.template_id, variables=variables, rendered=rendered(self.row.content)
            )
        match self.row.content:
            case TextContent(text) | TemplateContent(rendered=text):
                is_sms = self.row.channel is Channel.SMS
                return Text(text=text, segments=count_segments(text).segments if is_sms else None)
            case EmailContent(subject, plain_text, html):
                return Email(subject=subject, plain_text=plain_text, html=html)
            case _:
                _account_for_none(info, self.row)
                return None

    @computed("The template it was created from.")
    async def template(self, info: Info) -> Template | None:
        template_id = self.row.template_id
        return None if template_id is None else await template_by_id(info, template_id)

    @computed("The message that this one answers. Null if there is none, or if it is no longer stored.")
    async def in_reply_to(self, info: Info) -> Optional["Message"]:
        if self.row.in_reply_to is None:
            return None
        found = await info.context.messages.load((self.row.in_reply_to, sealed_asked_for(info)))
        return None if found is None else message_of(found)

    @computed("Its batch, if it was sent in one.")
    async def batch(
        self, info: Info
    ) -> Annotated["MessageBatch", strawberry.lazy("resolvers.messages.queries")] | None:
        # A message and its batch know each other: one of the two has to be looked for when it is needed.
        from resolvers.messages.queries import batch_by_id

        return None if self.row.batch_id is None else await batch_by_id(info, self.row.batch_id)

    @computed("Whether it can be canceled: no attempt was or may have been sent.")
    async def can_cancel(self, info: Info) -> bool:
        attempts = await info.context.attempts.load(self.row.id) if queries.needs_attempts(self.row) else []
        return queries.can_cancel(self.row, attempts)

    @computed("Whether it can be retried.")
    def can_retry(self) -> bool:
        return queries.can_retry(self.row)

    @computed("Every call to a provider for it, oldest first.")
    async def attempts(self, info: Info) -> list[MessageAttempt]:
        return [attempt_of(info, view) for view in await info.context.attempts.load(self.row.id)]

    @computed("Its events, oldest first.")
    async def events(
        self,
        info: Info,
        first: int | None = strawberry.UNSET,
        after: str | None = strawberry.UNSET,
        last: int | None = strawberry.UNSET,
        before: str | None = strawberry.UNSET,
    ) -> MessageEventConnection:
        return await events_page(info, self.row.id, given(first), given(after), given(last), given(before))


def message_of(row: queries.Message) -> Message:
    """A message as clients see it."""
    return Message(
        id=to_global_id("Message", row.id.bytes),
        row=row,
        direction=row.direction,
        status=row.status,
        channel=row.channel,
        route=_route(row),
        to_masked=row.to_masked,
        from_masked=row.from_masked,
        send_at=row.send_at,
        next_attempt_at=row.next_attempt_at,
        next_look_at=row.next_look_at,
        expires_at=row.expires_at,
        external_id=row.external_id,
        failure=failure_of(row.failure),
        created_at=row.created_at,
        updated_at=row.updated_at,
        sent_at=row.sent_at,
        delivered_at=row.delivered_at,
        read_at=row.read_at,
        erased_at=row.erased_at,
    )


def _route(row: queries.Message) -> list[RouteStep]:
    return [
        RouteStep(
            row=row,
            place=place,
            channel=step.channel,
            within=step.within,
            until=step.until,
            on_unconfirmed=step.on_unconfirmed,
        )
        for place, step in enumerate(row.route)
    ]


def attempt_of(info: Info, view: AttemptView) -> MessageAttempt:
    """An attempt as clients see it."""
    return MessageAttempt(
        id=to_global_id("MessageAttempt", view.message_id.bytes + view.number.to_bytes(2, "big")),
        number=view.number,
        channel=view.channel,
        integration=integration_of(info, view.integration),
        outcome=view.outcome,
        provider_message_id=shown_id(info, view.provider_message_id),
        failure=failure_of(view.failure),
        answer=view.answer,
        started_at=view.started_at,
        duration_ms=view.duration_ms,
    )


def shown_id(info: Info, id: str | None) -> str | None:
    """A provider's id as the caller may see it."""
    principal = info.context.principal
    may_see = principal is not None and Scope.CONTACTS_READ in principal.scopes
    return id if id is None or may_see else mask_id(id)


def failure_of(failure: Failure | None) -> DeliveryFailure | None:
    """A failure as clients see it."""
    if failure is None:
        return None
    return DeliveryFailure(
        reason=failure.reason,
        message=failure.message,
        provider_code=failure.provider_code,
        is_transient=failure.is_transient,
        party=failure.party,
    )
