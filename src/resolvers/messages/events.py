"""What happened to a message, page by page."""

from datetime import datetime
from uuid import UUID

import strawberry

from core.messages.queries import EventSlice, EventView
from core.messages.status import EventSource, MessageStatus
from core.ports import Channel
from resolvers.context import Info
from resolvers.identifiers import from_global_id, to_global_id
from resolvers.node import Node
from resolvers.pagination import PageInfo, bad_cursor, page_arguments

_CURSOR = "EventCursor"


@strawberry.type(description="One thing that happened to a message.")
class MessageEvent(Node):
    status: MessageStatus = strawberry.field(description="The status it led to.")
    channel: Channel | None
    detail: str | None
    source: EventSource
    at: datetime


@strawberry.type(description="One event of a page, and its place in the list.")
class MessageEventEdge:
    cursor: str
    node: MessageEvent


@strawberry.type(description="One page of what happened to a message.")
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
