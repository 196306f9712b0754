"""Messages as a noun: their events with codecs, who owns a sender, requeuing, their changes, and personal data."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, Text, bindparam, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from core.errors import AppError
from core.inbox.events import address_of_reference
from core.messages.accept import Outbox
from core.messages.change_feed import message_changes
from core.messages.personal_data import PERSONAL_DATA
from core.messages.retry import Bounds, Retried, retry_all
from core.messages.status import MESSAGE_SEND, EventSource
from core.messages.tables import message_events, messages
from core.messages.webhook_handlers import apply_events
from core.messages.worker import plan_work
from core.nouns import (
    ChangeKind,
    Counter,
    EventAddress,
    EventType,
    Noun,
    Owner,
    Requeued,
    Subject,
    SubjectOrder,
    TenantResource,
)
from core.ports import Channel, InboundMessage, Price, Reference, ReportedStatus, StatusReport
from core.ports.reports import failure_from_json, failure_to_json
from core.ports.sending import MESSAGE

SENDER = "sender"
"""The kind of resource that is one of our sender addresses."""

# ─── Events ───────────────────────────────────────────────────────────────


def _encode_report(event: StatusReport) -> Mapping[str, Any]:
    return {
        "status": event.status.value,
        "reference": str(event.reference) if event.reference else None,
        "providerMessageId": event.provider_message_id,
        "failure": failure_to_json(event.failure),
        "price": _price_to_json(event.price),
        "at": _moment_to_text(event.occurred_at),
    }


def _decode_report(key: str, name: str, data: Mapping[str, Any]) -> StatusReport:
    return StatusReport(
        key,
        name,
        "",
        status=ReportedStatus(data["status"]),
        reference=Reference.parse(data["reference"]),
        provider_message_id=data["providerMessageId"],
        failure=failure_from_json(data["failure"]),
        price=_price_from_json(data.get("price")),
        occurred_at=_moment_from_text(data["at"]),
    )


def _encode_inbound(event: InboundMessage) -> Mapping[str, Any]:
    return {
        "channel": event.channel.value,
        "sender": event.sender,
        "recipient": event.recipient,
        "text": event.text,
        "providerMessageId": event.provider_message_id,
        "at": _moment_to_text(event.occurred_at),
        "messageKind": event.kind,
        "inReplyTo": event.in_reply_to,
    }


def _decode_inbound(key: str, name: str, data: Mapping[str, Any]) -> InboundMessage:
    return InboundMessage(
        key,
        name,
        "",
        channel=Channel(data["channel"]),
        sender=data["sender"],
        recipient=data["recipient"],
        text=data["text"],
        provider_message_id=data["providerMessageId"],
        occurred_at=_moment_from_text(data["at"]),
        kind=data.get("messageKind", "text"),
        in_reply_to=data.get("inReplyTo"),
    )


def _price_to_json(price: Price | None) -> dict[str, Any] | None:
    if price is None:
        return None
    return {"isBillable": price.is_billable, "model": price.model, "category": price.category}


def _price_from_json(data: Mapping[str, Any] | None) -> Price | None:
    return Price(data["isBillable"], data["model"], data["category"]) if data else None


def _moment_to_text(at: datetime | None) -> str | None:
    return at.isoformat() if at else None


def _moment_from_text(written: str | None) -> datetime | None:
    return datetime.fromisoformat(written) if written else None


# ─── Owners ───────────────────────────────────────────────────────────────


# The tenant of an address is needed before a transaction can declare it: a database function returns only that.
_OWNERS = text("SELECT address, tenant_id FROM owners_of_addresses(:integration, :addresses)").bindparams(
    bindparam("addresses", type_=ARRAY(Text))
)


async def _owners_of_senders(
    connection: AsyncConnection, integration: str, addresses: Collection[str]
) -> Mapping[str, UUID]:
    found = await connection.execute(_OWNERS, {"integration": integration, "addresses": list(addresses)})
    return {row.address: row.tenant_id for row in found}


# ─── Messages as the subject of records ───────────────────────────────────


async def _lock(connection: AsyncConnection, tenant: UUID, ids: Sequence[UUID]) -> None:
    chosen = select(messages.c.id).where(messages.c.tenant_id == tenant, messages.c.id.in_(list(ids)))
    await connection.execute(chosen.order_by(messages.c.id).with_for_update())


async def _requeue(order: SubjectOrder) -> Requeued:
    """Retry failed messages; one that the provider may have accepted, or outside the caller's reach, is refused."""
    outbox = order.installation.service(Outbox)
    results = await retry_all(
        order.connection,
        order.tenant_id,
        list(order.ids),
        None,
        EventSource.OPERATOR,
        channels=outbox.channels,
        may_double=False,
        bounds=Bounds(order.installation.sealer, order.reach),
    )
    retried = [one for one in results.values() if isinstance(one, Retried)]

    async def then() -> None:
        await outbox.hub.publish([one.change for one in retried])
        for channel in {one.channel for one in retried}:
            await outbox.wake(channel)

    return Requeued({id: one if isinstance(one, AppError) else None for id, one in results.items()}, then)


async def _titles(connection: AsyncConnection, tenant: UUID, ids: Collection[UUID]) -> Mapping[UUID, str]:
    chosen = select(messages.c.id, messages.c.channel, messages.c.to_masked).where(
        messages.c.tenant_id == tenant, messages.c.id.in_(list(ids))
    )
    return {row.id: f"{row.channel} to {row.to_masked}" for row in await connection.execute(chosen)}


# ─── Counters ─────────────────────────────────────────────────────────────


# As clients see it: an inbound message begins as DELIVERED, an outbound one as SCHEDULED or QUEUED.
_SHOWN_STATUS = "CASE WHEN previous_status IS NULL AND status = 'DELIVERED' THEN 'RECEIVED' ELSE status END"
STATUS_CHANGES = Counter(
    "messages.status",
    "Changes of messages' statuses, by channel and status",
    message_events,
    labels=("channel", _SHOWN_STATUS),
    condition="status IS DISTINCT FROM previous_status",
)

NOUN = Noun(
    "messages",
    events=(
        EventType(
            "status",
            StatusReport,
            _encode_report,
            _decode_report,
            apply_events,
            lambda event: address_of_reference(event.reference),
        ),
        EventType(
            "inbound",
            InboundMessage,
            _encode_inbound,
            _decode_inbound,
            apply_events,
            lambda event: EventAddress(resource=(SENDER, event.recipient)),
        ),
    ),
    owners=(Owner(SENDER, _owners_of_senders),),
    resources=(TenantResource(SENDER, "Sender address"),),
    subjects=(Subject(MESSAGE, MESSAGE_SEND, _lock, _requeue, _titles),),
    worker=plan_work,
    personal_data=PERSONAL_DATA,
    counters=(STATUS_CHANGES,),
    changes=(ChangeKind(MESSAGE, lambda installation: message_changes(installation.sealer)),),
)
