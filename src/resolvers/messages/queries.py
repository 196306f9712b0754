"""Reading messages and batches."""

from collections.abc import Collection, Sequence
from datetime import datetime
from uuid import UUID

import strawberry

from core.messages import batch, queries
from core.messages.status import Direction, MessageStatus
from core.ports import Channel
from core.ports.identity import Scope
from resolvers.context import Info, sealed_asked_for
from resolvers.fields import Node, computed, given
from resolvers.global_ids import to_global_id, uuid_of
from resolvers.inputs import RecipientInput, TimeRangeInput, person_of, span_of
from resolvers.messages.types import Message, message_of
from resolvers.pagination import PageInfo, page_info_of, slice_of, write_cursor

_CURSOR = "MessageCursor"


@strawberry.input(
    description="All given conditions must match. A list matches if one of its values does; an empty list never does."
)
class MessageFilter:
    to: RecipientInput | None = strawberry.field(
        default=strawberry.UNSET,
        description="Messages to this person, found by an address in any spelling; a Brazilian mobile number matches"
        " with and without its ninth digit. Needs `CONTACTS_READ`.",
    )
    sender: RecipientInput | None = strawberry.field(
        name="from",
        default=strawberry.UNSET,
        description="Messages from this person, found in the same way. Needs `CONTACTS_READ`.",
    )
    external_id: str | None = strawberry.field(
        default=strawberry.UNSET, description="The message with exactly this external id."
    )
    channels: list[Channel] | None = strawberry.UNSET
    statuses: list[MessageStatus] | None = strawberry.UNSET
    direction: Direction | None = strawberry.UNSET
    created: TimeRangeInput | None = strawberry.UNSET
    batch_id: strawberry.ID | None = strawberry.UNSET


@strawberry.type(description="One message of a page, and its cursor.")
class MessageEdge:
    cursor: str
    node: Message


@strawberry.type(description="One page of messages.")
class MessageConnection:
    condition: strawberry.Private[queries.MessageFilter]
    edges: list[MessageEdge]
    nodes: list[Message]
    page_info: PageInfo

    @computed(
        "The number of messages that match the filter. It needs a count in the database: request it only if you "
        "show it."
    )
    async def total_count(self, info: Info) -> int:
        tenant = info.context.require(Scope.MESSAGES_READ).tenant_id
        async with info.context.services.database.transaction(tenant) as connection:
            return await queries.count_messages(connection, tenant, self.condition)


async def messages_by_id(info: Info, ids: Collection[UUID]) -> dict[UUID, Message]:
    """Messages of the caller's tenant; those it does not have are left out."""
    services, tenant = info.context.services, info.context.require(Scope.MESSAGES_READ).tenant_id
    async with services.database.transaction(tenant) as connection:
        found = await queries.messages_by_id(connection, services.sealer, tenant, ids, sealed=sealed_asked_for(info))
    return {one: message_of(row) for one, row in found.items()}


async def message_by_id(info: Info, message_id: UUID) -> Message | None:
    """A message of the caller's tenant; None when it has none of that id."""
    return (await messages_by_id(info, [message_id])).get(message_id)


async def get_message(info: Info, id: strawberry.ID) -> Message | None:
    info.context.require(Scope.MESSAGES_READ)
    message_id = uuid_of(id, "Message")
    return None if message_id is None else await message_by_id(info, message_id)


async def list_messages(
    info: Info,
    first: int | None = strawberry.UNSET,
    after: str | None = strawberry.UNSET,
    last: int | None = strawberry.UNSET,
    before: str | None = strawberry.UNSET,
    filter: MessageFilter | None = strawberry.UNSET,
) -> MessageConnection:
    condition = condition_of(info, given(filter) or MessageFilter())
    return await messages_page(info, condition, given(first), given(after), given(last), given(before))


async def messages_page(
    info: Info,
    condition: queries.MessageFilter,
    first: int | None,
    after: str | None,
    last: int | None,
    before: str | None,
) -> MessageConnection:
    """Read one page of the caller's messages; raises InvalidInput."""
    services, tenant = info.context.services, info.context.require(Scope.MESSAGES_READ).tenant_id
    which = slice_of(first, after, last, before, _CURSOR)
    async with services.database.transaction(tenant) as connection:
        found = await queries.messages_page(
            connection, services.sealer, tenant, which, condition, sealed=sealed_asked_for(info)
        )
    edges = [MessageEdge(cursor=write_cursor(_CURSOR, row.id), node=message_of(row)) for row in found.items]
    page_info = page_info_of(which, [edge.cursor for edge in edges], has_more=found.has_more)
    return MessageConnection(condition=condition, edges=edges, nodes=[edge.node for edge in edges], page_info=page_info)


def condition_of(info: Info, filter: MessageFilter) -> queries.MessageFilter:
    """A filter as core takes it. An id that names no batch finds nothing. Raises InvalidInput and NotAllowed."""
    created, batch = span_of(given(filter.created), ["filter", "created"]), given(filter.batch_id)
    return queries.MessageFilter(
        channels=given(filter.channels),
        statuses=given(filter.statuses),
        direction=given(filter.direction),
        created_from=created.start,
        created_before=created.end,
        batches=None if batch is None else [found for found in [uuid_of(batch, "MessageBatch")] if found],
        to_hashes=_hashes(info, given(filter.to), ["filter", "to"]),
        from_hashes=_hashes(info, given(filter.sender), ["filter", "from"]),
        external_id=given(filter.external_id),
    )


def _hashes(info: Info, written: RecipientInput | None, path: Sequence[str]) -> Sequence[bytes] | None:
    """Under which look-up hashes a person's messages are found.

    The scope is asked for here: without it a caller could try addresses to learn who is written to.
    """
    if written is None:
        return None
    tenant = info.context.require(Scope.CONTACTS_READ).tenant_id
    return person_of(written, path).hashes(info.context.services.sealer, tenant)


# Batches of messages.


@strawberry.type(description="The number of messages of a batch, by status.")
class MessageCounts:
    total: int
    scheduled: int
    queued: int
    sending: int
    unconfirmed: int
    sent: int
    delivered: int
    read: int
    failed: int
    canceled: int


@strawberry.type(description="Messages that were sent together.")
class MessageBatch(Node):
    row: strawberry.Private[batch.Batch]
    name: str | None
    created_at: datetime

    @computed()
    async def counts(self, info: Info) -> MessageCounts:
        found = (await info.context.counts.load(self.row.id)).by_status
        numbers = {
            status.value.lower(): found.get(status, 0)
            for status in MessageStatus
            if status is not MessageStatus.RECEIVED
        }
        return MessageCounts(total=sum(numbers.values()), **numbers)

    @computed("Its messages, newest first.")
    async def messages(
        self,
        info: Info,
        first: int | None = strawberry.UNSET,
        after: str | None = strawberry.UNSET,
        last: int | None = strawberry.UNSET,
        before: str | None = strawberry.UNSET,
        filter: MessageFilter | None = strawberry.UNSET,
    ) -> MessageConnection:
        condition = condition_of(info, given(filter) or MessageFilter()).within(self.row.id)
        return await messages_page(info, condition, given(first), given(after), given(last), given(before))

    @computed("When the last of its messages was sent or ended. Null until then.")
    async def finished_at(self, info: Info) -> datetime | None:
        counts = await info.context.counts.load(self.row.id)
        return counts.rested_at if counts.total else self.created_at


async def batch_by_id(info: Info, batch_id: UUID) -> MessageBatch | None:
    """A batch of the caller's tenant; None when it has none of that id."""
    found = await info.context.batches.load(batch_id)
    return None if found is None else batch_of(found)


async def get_batch(info: Info, id: strawberry.ID) -> MessageBatch | None:
    info.context.require(Scope.MESSAGES_READ)
    batch_id = uuid_of(id, "MessageBatch")
    return None if batch_id is None else await batch_by_id(info, batch_id)


def batch_of(row: batch.Batch) -> MessageBatch:
    """A batch as clients see it."""
    return MessageBatch(
        id=to_global_id("MessageBatch", row.id.bytes), row=row, name=row.name, created_at=row.created_at
    )
