"""Following messages live."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from functools import partial

import strawberry

from core.access.principal import Scope
from core.errors import InputRule, InvalidInput
from core.messages.follow import follow
from core.messages.values import MessageStatus
from core.patience import when_back
from core.words import say
from resolvers.arguments import given
from resolvers.context import Info
from resolvers.identifiers import uuid_of
from resolvers.messages.events import MessageEvent, event_of
from resolvers.messages.queries import message_by_id
from resolvers.messages.types import Message

MAX_IDS = 100


@strawberry.input(description="Which messages are followed: those that fit every condition given.")
class MessageStatusFilter:
    ids: list[strawberry.ID] | None = strawberry.field(
        default=strawberry.UNSET, description=f"At most {MAX_IDS}. Left out: all messages; an empty list: none."
    )


@strawberry.type(description="A message came to a new status.")
class MessageStatusChange:
    message: Message
    previous_status: MessageStatus | None
    event: MessageEvent


def _too_many() -> InvalidInput:
    text = say(
        "TOO_MANY_FOLLOWED",
        "At most {most} messages can be followed by id; leave `ids` out to follow all.",
        most=MAX_IDS,
    )
    return InvalidInput(text, path=["filter", "ids"], rule=InputRule.TOO_LONG)


async def message_status_changed(
    info: Info, filter: MessageStatusFilter | None = strawberry.UNSET
) -> AsyncGenerator[MessageStatusChange, None]:
    services, tenant = info.context.services, info.context.require(Scope.MESSAGES_READ).tenant_id
    ids = given(filter.ids) if filter else None
    if ids is not None and len(ids) > MAX_IDS:
        raise _too_many()
    # An id nobody made names no message: it is followed in vain, like one of another tenant.
    known = None if ids is None else {found for one in ids if (found := uuid_of(one, "Message"))}
    async with aclosing(follow(services.database, services.hub, tenant, known)) as changes:
        async for change in changes:
            async with services.hub.reading:
                message = await when_back(partial(message_by_id, info, change.event.message_id))
            if message is not None:
                previous = None if change.is_opening else change.event.previous_status
                yield MessageStatusChange(message=message, previous_status=previous, event=event_of(change.event))
