"""The webhooks of the simulated WhatsApp, in Meta's format and signed as Meta does.

https://developers.facebook.com/docs/whatsapp/cloud-api/webhooks/components
"""

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from hashlib import sha256
from hmac import new as new_hmac
from secrets import token_hex
from typing import Any

from integrations.simulating.provider import Json
from integrations.simulating.webhooks import Webhook
from integrations.whatsapp.simulator.account import Account, MetaError
from integrations.whatsapp.simulator.state import Customer, InboundOrder, Message

_MEDIA = {"mime_type": "application/octet-stream", "sha256": "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="}
TEMPLATE_FIELD = "message_template_status_update"
"""The field of a webhook that is about a template."""
_PRICED = frozenset({"sent", "delivered"})


def webhook(account: Account, field: str, value: Any, *, message_id: str = "", to: str = "") -> Webhook:
    """A signed request. Meta escapes every letter beyond ASCII, and slashes, too: the signature covers it so."""
    change = {"value": value, "field": field}
    whole = {
        "object": "whatsapp_business_account",
        "entry": [{"id": account.business_account_id, "changes": [change]}],
    }
    body = json.dumps(whole, separators=(",", ":")).replace("/", r"\/")
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "facebookexternalua",
        "X-Hub-Signature-256": f"sha256={sign(account.secrets[0], body.encode())}",
    }
    return Webhook(f"webhook-{token_hex(8)}", account.webhook_url, headers, body, message_id, to)


def sign(secret: str, body: bytes) -> str:
    """The hexadecimal part of X-Hub-Signature-256."""
    return new_hmac(secret.encode(), body, sha256).hexdigest()


def value_of(account: Account, **lists: Sequence[Json]) -> Json:
    """What a change of the field `messages` holds; empty lists are absent."""
    return {
        "messaging_product": "whatsapp",
        "metadata": account.metadata(),
        **{name: list(items) for name, items in lists.items() if items},
    }


def status_item(message: Message, customer: Customer, now: datetime) -> Json:
    """A report on a message, as it stands now."""
    item: Json = {"id": message.id, "status": message.status, "timestamp": _seconds(now)}
    if customer.shows_number(now):
        item["recipient_id"] = customer.wa_id
    item["recipient_user_id"] = customer.user_id
    if message.reference is not None:
        item["biz_opaque_callback_data"] = message.reference
    if message.pricing and message.status in _PRICED:
        item["pricing"] = message.pricing
    if message.error_code is not None:
        item["errors"] = [MetaError(message.error_code).reported()]
    return item


def inbound_item(order: InboundOrder, customer: Customer, account: Account, message_id: str, now: datetime) -> Json:
    """A message that a person wrote."""
    item: Json = {"from": customer.wa_id} if customer.shows_number(now) else {}
    item |= {"from_user_id": customer.user_id, "id": message_id, "timestamp": _seconds(now), "type": order.kind}
    item[order.kind] = content_of(order)
    if order.reply_to and order.kind != "reaction":
        item["context"] = {"from": account.number, "id": order.reply_to}
    if order.kind == "unsupported":
        item["errors"] = [MetaError(131051).reported()]
    return item


def template_value(template: Json) -> Json:
    """What a change of the field for templates holds: its state, as it stands now."""
    return {
        "event": template["status"],
        "message_template_id": int(template["id"]),
        "message_template_name": template["name"],
        "message_template_language": template["language"],
        "reason": "INCORRECT_CATEGORY" if template["status"] == "REJECTED" else None,
    }


def content_of(order: InboundOrder) -> Json:
    """The object named like a message's type."""
    if order.content is not None:
        return order.content
    build = _CONTENT.get(order.kind)
    return build(order) if build else {}


def _media(order: InboundOrder) -> Json:
    return {**_MEDIA, "id": token_hex(8)} | ({"caption": order.text} if order.text else {})


def _reply(order: InboundOrder) -> Json:
    return {"type": "button_reply", "button_reply": {"id": order.text or "", "title": order.text or ""}}


_CONTENT: Mapping[str, Callable[[InboundOrder], Json]] = {
    "text": lambda order: {"body": order.text or ""},
    "image": _media,
    "video": _media,
    "document": lambda order: {**_media(order), "filename": "documento.pdf"},
    "audio": lambda order: {**_media(order), "voice": True},
    "sticker": lambda order: {**_media(order), "animated": False},
    "button": lambda order: {"payload": order.text or "", "text": order.text or ""},
    "interactive": _reply,
    "reaction": lambda order: {"message_id": order.reply_to or "", "emoji": order.text or "👍"},
    "location": lambda order: {"latitude": -23.561, "longitude": -46.656, "name": order.text or "MASP"},
    "unsupported": lambda order: {"type": "unknown"},
}


def _seconds(at: datetime) -> str:
    return str(int(at.timestamp()))
