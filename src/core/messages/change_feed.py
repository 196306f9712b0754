"""Changes of messages for the change feed: the status changes behind a cursor, with the messages as they are now."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from core.live.change_feed import FeedChange
from core.live.cursors import Cursor
from core.live.event_log import EventLog
from core.messages.queries import EventView, Message, event_view, messages_by_id
from core.messages.status import Direction, MessageStatus
from core.messages.tables import message_events
from core.ports import Channel
from core.sealing import Sealer


@dataclass(frozen=True, slots=True, weakref_slot=True, eq=False, kw_only=True)
class StatusChange(FeedChange):
    """A message reached a new status; `message` is as it was when the change was read, without its sealed parts.

    With `is_opening` it is the latest change of a message when the subscription began, and `previous_status` of the
    event does not count.
    """

    event: EventView
    message: Message
    is_opening: bool = False


@dataclass(frozen=True, slots=True)
class ChangeFilter:
    """Which changes a subscriber wants: those that meet every given condition."""

    ids: frozenset[UUID] | None = None
    batch_id: UUID | None = None
    channels: frozenset[Channel] | None = None
    statuses: frozenset[MessageStatus] | None = None
    direction: Direction | None = None

    @property
    def is_void(self) -> bool:
        """Whether no change can meet it, because a condition allows no value."""
        return any(one is not None and not one for one in (self.ids, self.channels, self.statuses))

    def fits(self, change: StatusChange) -> bool:
        """Whether a change meets every condition."""
        event, message = change.event, change.message
        return (
            (self.ids is None or event.message_id in self.ids)
            and (self.batch_id is None or message.batch_id == self.batch_id)
            and (self.channels is None or (event.channel or message.channel) in self.channels)
            and (self.statuses is None or event.status in self.statuses)
            and (self.direction is None or message.direction is self.direction)
        )


def message_changes(sealer: Sealer) -> EventLog[StatusChange]:
    """Reads changes of messages for the change feed."""

    async def make(
        connection: AsyncConnection,
        tenant: UUID,
        rows: Sequence[Row[Any]],
        cursors: Sequence[Cursor],
        is_opening: bool,
    ) -> Sequence[StatusChange]:
        found = await messages_by_id(connection, sealer, tenant, {row.message_id for row in rows})
        return [
            StatusChange(
                transaction=int(row.transaction_id),
                sequence=row.sequence,
                cursor=cursor,
                event=event_view(row),
                message=found[row.message_id],
                is_opening=is_opening,
            )
            for row, cursor in zip(rows, cursors, strict=True)
        ]

    has_new_status = message_events.c.status.is_distinct_from(message_events.c.previous_status)
    return EventLog(message_events, "message_id", make, has_new_status)
