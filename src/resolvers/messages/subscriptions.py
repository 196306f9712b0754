"""Subscriptions to status changes of messages."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from uuid import UUID

import strawberry

from core.database import retry_until_available
from core.errors import InputRule, InvalidInput, NotFound
from core.live.change_feed import subscribe_to_changes
from core.live.cursors import Cursor, decode_cursor, encode_cursor
from core.messages.change_feed import ChangeFilter, StatusChange
from core.messages.queries import existing_ids
from core.messages.status import Direction, MessageStatus
from core.ports import Channel
from core.ports.identity import Scope
from core.ports.sending import MESSAGE
from core.words import say
from resolvers.context import Info, sealed_asked_for
from resolvers.fields import computed, given
from resolvers.global_ids import uuid_of
from resolvers.messages.types import Message, MessageEvent, event_of, message_of
from resolvers.pagination import bad_cursor

MAX_IDS = 100


@strawberry.input(description="Which messages to follow: all given conditions must match.")
class MessageStatusFilter:
    ids: list[strawberry.ID] | None = strawberry.field(
        default=strawberry.UNSET,
        description=f"At most {MAX_IDS} ids; an unknown one is refused with `NOT_FOUND`. Left out: all messages. An"
        " empty list, here or in another field: none, and the subscription ends at once.",
    )
    batch_id: strawberry.ID | None = strawberry.field(
        default=strawberry.UNSET,
        description="Only messages of this batch; an unknown batch is refused with `NOT_FOUND`.",
    )
    channels: list[Channel] | None = strawberry.field(
        default=strawberry.UNSET, description="Only changes on these channels; an empty list matches nothing."
    )
    statuses: list[MessageStatus] | None = strawberry.field(
        default=strawberry.UNSET, description="Only changes to these statuses; an empty list matches nothing."
    )
    direction: Direction | None = strawberry.field(
        default=strawberry.UNSET, description="Only outbound or only inbound messages."
    )


@strawberry.type(description="A message changed its status.")
class MessageStatusChange:
    occasion: strawberry.Private[StatusChange]

    # Computed, since it is done once for all who are told: see `engine/answer.py`.

    @computed("The message in its current state, which may be newer than the event.")
    async def message(self, info: Info) -> Message:
        sealed = sealed_asked_for(info)
        found = self.occasion.message
        if sealed:
            found = await info.context.messages.load((found.id, sealed)) or found
        return message_of(found)

    @computed("Null for a new message, and for the current state, which comes first.")
    def previous_status(self) -> MessageStatus | None:
        return None if self.occasion.is_opening else self.occasion.event.previous_status

    @computed()
    def event(self) -> MessageEvent:
        return event_of(self.occasion.event)

    @computed("Pass it as `after` to continue after this event.")
    def cursor(self, info: Info) -> str:
        return encode_cursor(self.occasion.cursor, info.context.require(Scope.MESSAGES_READ).tenant_id)

    @computed("True: the client was too slow and changes before this one were skipped. Fetch your data again.")
    def has_gap(self) -> bool:
        return self.occasion.has_gap


def _too_many() -> InvalidInput:
    text = say(
        "TOO_MANY_FOLLOWED",
        "You can follow at most {most} messages by id. Leave `ids` out to follow all messages.",
        most=MAX_IDS,
    )
    return InvalidInput(text, path=["filter", "ids"], rule=InputRule.TOO_LONG)


async def message_status_changed(
    info: Info, filter: MessageStatusFilter | None = strawberry.UNSET, after: str | None = strawberry.UNSET
) -> AsyncGenerator[MessageStatusChange, None]:
    tenant = info.context.require(Scope.MESSAGES_READ).tenant_id
    wanted, place = given(filter) or MessageStatusFilter(), _place_of(given(after), info)
    interest = await _interest_of(info, tenant, wanted)
    if interest.is_void:
        return
    feeds = info.context.services.feeds[MESSAGE]
    async with aclosing(subscribe_to_changes(feeds, tenant, interest, place)) as changes:
        async for change in changes:
            yield MessageStatusChange(occasion=change)


async def _interest_of(info: Info, tenant: UUID, filter: MessageStatusFilter) -> ChangeFilter:
    """Read a filter; raises InvalidInput, and NotFound for ids that could only be followed in vain."""
    ids, batch = given(filter.ids), given(filter.batch_id)
    channels, statuses = given(filter.channels), given(filter.statuses)
    if ids is not None and len(ids) > MAX_IDS:
        raise _too_many()
    return ChangeFilter(
        ids=None if ids is None else frozenset(await _messages_named(info, tenant, ids)),
        batch_id=None if batch is None else await _batch_named(info, batch),
        channels=None if channels is None else frozenset(channels),
        statuses=None if statuses is None else frozenset(statuses),
        direction=given(filter.direction),
    )


async def _messages_named(info: Info, tenant: UUID, ids: Sequence[str]) -> Sequence[UUID]:
    database = info.context.services.database
    written = [uuid_of(one, "Message") for one in ids]

    async def read_known() -> set[UUID]:
        async with database.transaction(tenant) as connection:
            return await existing_ids(connection, tenant, {one for one in written if one is not None})

    found = await retry_until_available(read_known) if any(written) else set()
    for place, one in enumerate(written):
        if one not in found:
            text = say("MESSAGE_NOT_FOUND", "There is no such message.")
            raise NotFound(text, id=ids[place], path=["filter", "ids", str(place)])
    return [one for one in written if one is not None]


async def _batch_named(info: Info, written: str) -> UUID:
    batch_id = uuid_of(written, "MessageBatch")
    found = None if batch_id is None else await info.context.batches.load(batch_id)
    if found is None:
        text = say("BATCH_NOT_FOUND", "There is no such batch.")
        raise NotFound(text, id=written, path=["filter", "batchId"])
    return found.id


def _place_of(after: str | None, info: Info) -> Cursor | None:
    if after is None:
        return None
    place = decode_cursor(after, info.context.require(Scope.MESSAGES_READ).tenant_id)
    if place is None:
        raise bad_cursor("after")
    return place
