"""Messages people send us."""

from typing import Any

from sqlalchemy import CTE, literal, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql.dml import ReturningInsert

from core.messages.addresses import known_address, sought
from core.messages.claim import text_value
from core.messages.content import content_to_json
from core.messages.provider_ids import of_message
from core.messages.replies import find_answered
from core.messages.route import route_to_json, step
from core.messages.tables import message_events, messages
from core.messages.values import Direction, EventSource, MessageStatus
from core.ports import InboundMessage, TextContent
from core.pubsub import Change
from core.sealing import Sealer
from core.webhooks.closing import Place


async def insert_inbound(
    connection: AsyncConnection, sealer: Sealer, place: Place, integration: str, event: InboundMessage
) -> list[Change]:
    """Store what somebody wrote as a message of the tenant whose address they wrote to; it has arrived already.

    The message's id is that of its webhook: processed a second time, it changes nothing.
    """
    tenant_id, row = place
    ours, theirs = known_address(event.recipient), known_address(event.sender)
    named = of_message(sealer, tenant_id, row, event.provider_message_id)
    content = content_to_json(TextContent(event.text or ""))
    message = (
        insert(messages)
        .on_conflict_do_nothing()
        .returning(messages.c.id)
        .values(
            tenant_id=tenant_id,
            id=row,
            direction=Direction.INBOUND.value,
            status=MessageStatus.DELIVERED.value,
            channel=event.channel.value,
            route=route_to_json([step(event.channel)]),
            to_sealed=sealer.seal(ours.value, tenant=tenant_id, row=row, column="to"),
            to_masked=ours.masked,
            to_hash=sealer.lookup_hash(sought(ours.value), tenant=tenant_id),
            from_sealed=sealer.seal(theirs.value, tenant=tenant_id, row=row, column="from"),
            from_masked=theirs.masked,
            from_hash=sealer.lookup_hash(sought(theirs.value), tenant=tenant_id),
            content_sealed=sealer.seal(content, tenant=tenant_id, row=row, column="content"),
            in_reply_to=await find_answered(connection, sealer, tenant_id, integration, event.in_reply_to),
            integration=integration,
            provider_id_sealed=named.sealed,
            provider_id_lookup=named.lookup,
            provider_message_id=named.clear,
            delivered_at=event.occurred_at,
        )
    )
    rows = await connection.execute(_told(message.cte("message"), place, event))
    return [Change(tenant_id, row.message_id) for row in rows]


def _told(arrived: CTE, place: Place, event: InboundMessage) -> ReturningInsert[Any]:
    """The event of a message that is new; of one that was there before there is none."""
    told = {
        "tenant_id": literal(place.tenant_id),
        "message_id": arrived.c.id,
        "status": text_value(MessageStatus.DELIVERED.value),
        "channel": text_value(event.channel.value),
        "detail": text_value(event.event_type),
        "source": text_value(EventSource.WEBHOOK.value),
    }
    chosen = select(*told.values()).select_from(arrived)
    return insert(message_events).from_select(list(told), chosen).returning(message_events.c.message_id)
