"""Messages that were handed in together."""

from datetime import datetime
from uuid import UUID

import strawberry

from core.messages import batch
from core.messages.status import MessageStatus
from core.ports.principal import Scope
from resolvers.arguments import given
from resolvers.context import Info
from resolvers.fields import computed
from resolvers.identifiers import to_global_id, uuid_of
from resolvers.messages.queries import MessageConnection, MessageFilter, condition_of, messages_page
from resolvers.node import Node


@strawberry.type(description="How many messages of a batch stand where.")
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


@strawberry.type(description="Messages that were handed in together.")
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

    @computed("Its messages, the last ones first.")
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

    @computed("When the last of its messages was handed over to a company or ended; null while one has not.")
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
