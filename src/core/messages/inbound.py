"""Messages people send us."""

from uuid import UUID

from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from core.identifiers import uuid7
from core.messages.addresses import inbound_address
from core.messages.content import content_to_json
from core.messages.replies import find_answered
from core.messages.route import route_to_json, step
from core.messages.tables import message_events, messages
from core.messages.values import Direction, EventSource, MessageStatus
from core.ports import InboundMessage, TextContent
from core.pubsub import Change
from core.sealing import Sealer


async def insert_inbound(
    connection: AsyncConnection, sealer: Sealer, tenant_id: UUID, integration: str, event: InboundMessage
) -> Change:
    """Store what somebody wrote as a message of the tenant whose address they wrote to; it has arrived already."""
    row = uuid7()
    ours, theirs = inbound_address(event.recipient), inbound_address(event.sender)
    content = content_to_json(TextContent(event.text or ""))
    message = insert(messages).values(
        tenant_id=tenant_id,
        id=row,
        direction=Direction.INBOUND.value,
        status=MessageStatus.DELIVERED.value,
        channel=event.channel.value,
        route=route_to_json([step(event.channel)]),
        to_sealed=sealer.seal(ours.value, tenant=tenant_id, row=row, column="to"),
        to_masked=ours.masked,
        to_hash=sealer.lookup_hash(ours.value, tenant=tenant_id),
        from_sealed=sealer.seal(theirs.value, tenant=tenant_id, row=row, column="from"),
        from_masked=theirs.masked,
        from_hash=sealer.lookup_hash(theirs.value, tenant=tenant_id),
        content_sealed=sealer.seal(content, tenant=tenant_id, row=row, column="content"),
        in_reply_to=await find_answered(connection, tenant_id, integration, event.in_reply_to),
        integration=integration,
        provider_message_id=event.provider_message_id,
        delivered_at=event.occurred_at,
    )
    told = insert(message_events).values(
        tenant_id=tenant_id,
        message_id=row,
        status=MessageStatus.DELIVERED.value,
        channel=event.channel.value,
        detail=event.event_type,
        source=EventSource.WEBHOOK.value,
    )
    await connection.execute(told.add_cte(message.cte("message")))
    return Change(tenant_id, row)
