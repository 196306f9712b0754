"""Encoding a provider's event for its sealed column."""

import json
from datetime import datetime
from typing import Any

from core.access.directory import subject_from_json, subject_to_json
from core.ports import (
    Channel,
    DirectoryChanged,
    InboundMessage,
    OtherEvent,
    Price,
    ProviderEvent,
    Reference,
    ReportedStatus,
    StatusReport,
    TemplatesChanged,
)
from core.ports.reports import failure_from_json, failure_to_json


def event_to_json(event: ProviderEvent) -> str:
    """Encode an event without its part of the payload, which has a column of its own."""
    data: dict[str, Any] = {"key": event.dedupe_key, "type": event.event_type}
    match event:
        case StatusReport():
            data |= {
                "kind": "status",
                "status": event.status.value,
                "reference": str(event.reference) if event.reference else None,
                "providerMessageId": event.provider_message_id,
                "failure": failure_to_json(event.failure),
                "price": _price_to_json(event.price),
                "at": _moment(event.occurred_at),
            }
        case InboundMessage():
            data |= {
                "kind": "inbound",
                "channel": event.channel.value,
                "sender": event.sender,
                "recipient": event.recipient,
                "text": event.text,
                "providerMessageId": event.provider_message_id,
                "at": _moment(event.occurred_at),
                "messageKind": event.kind,
                "inReplyTo": event.in_reply_to,
            }
        case TemplatesChanged():
            data |= {"kind": "templates"}
        case DirectoryChanged():
            data |= {
                "kind": "directory",
                "subject": subject_to_json(event.subject),
                "at": _moment(event.at),
                "isDeleted": event.is_deleted,
            }
        case OtherEvent():
            data |= {"kind": "other", "reference": str(event.reference) if event.reference else None}
    return json.dumps(data)


def event_from_json(text: str) -> ProviderEvent:
    """Decode what `event_to_json` wrote, also in an earlier version, which wrote fewer fields."""
    data = json.loads(text)
    key, name = data["key"], data["type"]
    match data.get("kind"):
        case "status":
            return StatusReport(
                key,
                name,
                "",
                status=ReportedStatus(data["status"]),
                reference=Reference.parse(data["reference"]),
                provider_message_id=data["providerMessageId"],
                failure=failure_from_json(data["failure"]),
                price=_price_from_json(data.get("price")),
                occurred_at=_read_moment(data["at"]),
            )
        case "inbound":
            return InboundMessage(
                key,
                name,
                "",
                channel=Channel(data["channel"]),
                sender=data["sender"],
                recipient=data["recipient"],
                text=data["text"],
                provider_message_id=data["providerMessageId"],
                occurred_at=_read_moment(data["at"]),
                kind=data.get("messageKind", "text"),
                in_reply_to=data.get("inReplyTo"),
            )
        case "templates":
            return TemplatesChanged(key, name, "")
        case "directory":
            return _directory_changed(key, name, data)
        case _:
            return OtherEvent(key, name, "", reference=Reference.parse(data.get("reference")))


def _directory_changed(key: str, name: str, data: dict[str, Any]) -> DirectoryChanged:
    subject, at = subject_from_json(data["subject"]), datetime.fromisoformat(data["at"])
    return DirectoryChanged(key, name, "", subject=subject, at=at, is_deleted=data["isDeleted"])


def _price_to_json(price: Price | None) -> dict[str, Any] | None:
    if price is None:
        return None
    return {"isBillable": price.is_billable, "model": price.model, "category": price.category}


def _price_from_json(data: dict[str, Any] | None) -> Price | None:
    return Price(data["isBillable"], data["model"], data["category"]) if data else None


def _moment(at: datetime | None) -> str | None:
    return at.isoformat() if at else None


def _read_moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
