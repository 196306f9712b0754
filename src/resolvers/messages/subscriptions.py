"""Following messages live."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

import strawberry

from core.access.principal import Scope
from core.errors import InputRule, InvalidInput
from core.messages.follow import follow
from core.messages.news import Interest, StatusChange
from core.messages.places import Place, read_place, write_place
from core.messages.values import MessageStatus
from core.ports import Channel
from core.words import say
from resolvers.arguments import given
from resolvers.context import Info
from resolvers.fields import computed
from resolvers.identifiers import uuid_of
from resolvers.messages.events import MessageEvent, event_of
from resolvers.messages.types import Message, message_of
from resolvers.pagination import bad_cursor
from resolvers.selection import sealed_asked_for

MAX_IDS = 100


@strawberry.input(description="Which messages are followed: those that fit every condition given.")
class MessageStatusFilter:
    ids: list[strawberry.ID] | None = strawberry.field(
        default=strawberry.UNSET, description=f"At most {MAX_IDS}. Left out: all messages; an empty list: none."
    )
    batch_id: strawberry.ID | None = strawberry.field(
        default=strawberry.UNSET, description="Only messages of this batch."
    )
    channels: list[Channel] | None = strawberry.field(
        default=strawberry.UNSET, description="Only what happened on these channels; an empty list: nothing."
    )
    statuses: list[MessageStatus] | None = strawberry.field(
        default=strawberry.UNSET, description="Only changes to these statuses; an empty list: none."
    )


@strawberry.type(description="A message came to a new status.")
class MessageStatusChange:
    occasion: strawberry.Private[StatusChange]

    # Computed, since it is done once for all who are told: see `engine/sharing.py`.

    @computed("As it is now, which may be further than the event.")
    async def message(self, info: Info) -> Message:
        sealed = sealed_asked_for(info)
        found = self.occasion.message
        if sealed:
            found = await info.context.messages.load((found.id, sealed)) or found
        return message_of(found)

    @computed("Null where the message began, and for the present state that comes first.")
    def previous_status(self) -> MessageStatus | None:
        return None if self.occasion.is_opening else self.occasion.event.previous_status

    @computed()
    def event(self) -> MessageEvent:
        return event_of(self.occasion.event)

    @computed("Give it as `after` to go on behind this event.")
    def cursor(self, info: Info) -> str:
        return write_place(self.occasion.place, info.context.require(Scope.MESSAGES_READ).tenant_id)

    @computed("True: you were too slow, and changes were left out before this one; refetch what you show.")
    def has_gap(self) -> bool:
        return self.occasion.has_gap


def _too_many() -> InvalidInput:
    text = say(
        "TOO_MANY_FOLLOWED",
        "At most {most} messages can be followed by id; leave `ids` out to follow all.",
        most=MAX_IDS,
    )
    return InvalidInput(text, path=["filter", "ids"], rule=InputRule.TOO_LONG)


async def message_status_changed(
    info: Info, filter: MessageStatusFilter | None = strawberry.UNSET, after: str | None = strawberry.UNSET
) -> AsyncGenerator[MessageStatusChange, None]:
    tenant = info.context.require(Scope.MESSAGES_READ).tenant_id
    interest, place = _interest_of(given(filter) or MessageStatusFilter()), _place_of(given(after), info)
    async with aclosing(follow(info.context.services.feeds, tenant, interest, place)) as changes:
        async for change in changes:
            yield MessageStatusChange(occasion=change)


def _interest_of(filter: MessageStatusFilter) -> Interest:
    ids, batch = given(filter.ids), given(filter.batch_id)
    channels, statuses = given(filter.channels), given(filter.statuses)
    if ids is not None and len(ids) > MAX_IDS:
        raise _too_many()
    # An id nobody made names no message: it is followed in vain, like one of another tenant.
    known = None if ids is None else frozenset(found for one in ids if (found := uuid_of(one, "Message")))
    batch_id = None if batch is None else uuid_of(batch, "MessageBatch")
    return Interest(
        ids=frozenset() if batch is not None and batch_id is None else known,
        batch_id=batch_id,
        channels=None if channels is None else frozenset(channels),
        statuses=None if statuses is None else frozenset(statuses),
    )


def _place_of(after: str | None, info: Info) -> Place | None:
    if after is None:
        return None
    place = read_place(after, info.context.require(Scope.MESSAGES_READ).tenant_id)
    if place is None:
        raise bad_cursor("after")
    return place
