"""Meta's webhooks: their signature, the reports and messages in them, and the handshake that sets them up.

Meta puts many reports and messages into one request; each becomes an event with a webhook of its own as its raw text.

https://developers.facebook.com/docs/whatsapp/cloud-api/webhooks/components
https://developers.facebook.com/docs/graph-api/webhooks/getting-started
"""

import hashlib
import hmac
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from core.errors import InvalidSignature
from core.ports import (
    Channel,
    InboundMessage,
    OtherEvent,
    Price,
    ProviderEvent,
    RawWebhook,
    Reference,
    ReportedStatus,
    StatusReport,
    TemplatesChanged,
)
from integrations.http_client import equal_in_constant_time
from integrations.whatsapp.errors import ERRORS
from integrations.whatsapp.payloads import (
    Json,
    as_keyword,
    digits,
    first_object,
    keyword,
    list_under,
    message_id,
    number_under,
    object_under,
    parse_json,
    text_under,
    timestamp,
    user_id,
)
from integrations.whatsapp.settings import Settings

LISTS = ("messages", "statuses")
_FIELD = "messages"
"""The field whose changes hold those lists; a change of any other field is stored whole."""
_CONTACT_KEYS = ("wa_id", "user_id")
_ITEM_KEYS = ("from", "from_user_id", "recipient_id", "recipient_user_id")


@dataclass(frozen=True, slots=True)
class Item:
    """One part of a webhook: an item of the list `name`, or the whole change of a field of this name.

    `value` is the object that holds it, `raw` the webhook as it would be with this part alone.
    """

    name: str
    content: Any
    value: Json
    raw: str
    is_whole_change: bool = False


def split_batch(webhook: Any) -> Iterator[Item]:
    """Yield the parts of a webhook in their order; nothing for a body that is no webhook."""
    for entry in list_under(webhook, "entry"):
        for change in list_under(entry, "changes"):
            yield from _items(_without(webhook, "entry"), _without(entry, "changes"), change)


def _items(webhook: Json, entry: Json, change: Any) -> Iterator[Item]:
    def with_change(change: Any) -> str:
        return json.dumps({**webhook, "entry": [{**entry, "changes": [change]}]}, separators=(",", ":"))

    value, field = object_under(change, "value"), text_under(change, "field") or ""
    lists = [name for name in LISTS if list_under(value, name)]
    if field != _FIELD or not lists:
        yield Item(field, change, value, with_change(change), is_whole_change=True)
        return
    common, people = _without(value, "contacts", *LISTS), _contacts_by_id(value)
    for name in lists:
        for content in list_under(value, name):
            alone = {**common, **_contacts_of(people, content), name: [content]}
            yield Item(name, content, value, with_change({**change, "value": alone}))


def _without(data: Json, *names: str) -> Json:
    return {key: value for key, value in data.items() if key not in names}


def _contacts_by_id(value: Json) -> Mapping[str, Any]:
    """Return the people of a batch by each of their ids."""
    contacts = list_under(value, "contacts")
    return {name: person for person in contacts for key in _CONTACT_KEYS if (name := text_under(person, key))}


def _contacts_of(people: Mapping[str, Any], content: Any) -> Mapping[str, Sequence[Any]]:
    """Return the people that an item names; with all of them in each item, a large batch would grow too much."""
    named = (text_under(content, key) for key in _ITEM_KEYS)
    found = {id(person): person for name in named if name and (person := people.get(name))}
    return {"contacts": list(found.values())} if found else {}


# Meta → ours. A voice message that was played has been read.
# https://developers.facebook.com/docs/whatsapp/cloud-api/webhooks/components#statuses-object
STATUSES: Mapping[str, ReportedStatus] = {
    "sent": ReportedStatus.SENT,
    "delivered": ReportedStatus.DELIVERED,
    "read": ReportedStatus.READ,
    "played": ReportedStatus.READ,
    "failed": ReportedStatus.FAILED,
}
_BILLABLE = "regular"


def status_report(item: Item) -> StatusReport | OtherEvent | None:
    """Read one report; None where it names no message or no status."""
    status = item.content
    wamid, said = message_id(status, "id"), keyword(status, "status")
    if wamid is None or said is None:
        return None
    key, reference = f"{wamid}:{said}", Reference.parse(text_under(status, "biz_opaque_callback_data"))
    known = STATUSES.get(said)
    if known is None:
        return OtherEvent(key, said, item.raw, reference=reference)
    return StatusReport(
        key,
        said,
        item.raw,
        status=known,
        price=_price(object_under(status, "pricing")),
        reference=reference,
        provider_message_id=wamid,
        failure=ERRORS.failure(number_under(first_object(status, "errors"), "code"))
        if known is ReportedStatus.FAILED
        else None,
        occurred_at=timestamp(status, "timestamp"),
    )


def _price(pricing: Json) -> Price | None:
    model, category = keyword(pricing, "pricing_model"), keyword(pricing, "category")
    if model is None or category is None:
        return None
    billable = pricing.get("billable")
    return Price(billable if isinstance(billable, bool) else pricing.get("type") == _BILLABLE, model, category)


EVENT = "received"
SYSTEM = "system"
"""A notice of WhatsApp about a person, such as a new number; the person wrote nothing."""

# Type of message → the paths to its text.
# https://developers.facebook.com/docs/whatsapp/cloud-api/webhooks/components#messages-object
_TEXT_PATHS: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "text": (("text", "body"),),
    "image": (("image", "caption"),),
    "video": (("video", "caption"),),
    "document": (("document", "caption"),),
    "button": (("button", "text"),),
    "interactive": (
        ("interactive", "button_reply", "title"),
        ("interactive", "list_reply", "title"),
        ("interactive", "nfm_reply", "body"),
    ),
    "reaction": (("reaction", "emoji"),),
}


def inbound_message(item: Item) -> InboundMessage | OtherEvent | None:
    """Read one message, of a known type or not; None where sender, recipient or id is missing."""
    message = item.content
    wamid, recipient = message_id(message, "id"), digits(object_under(item.value, "metadata"), "phone_number_id")
    sender, kind = _sender(message), keyword(message, "type") or "unknown"
    if wamid is None or recipient is None or sender is None:
        return None
    if kind == SYSTEM:
        return OtherEvent(wamid, keyword(object_under(message, SYSTEM), "type") or SYSTEM, item.raw)
    return InboundMessage(
        wamid,
        EVENT,
        item.raw,
        channel=Channel.WHATSAPP,
        sender=sender,
        recipient=recipient,
        text=_text_of(message, kind),
        provider_message_id=wamid,
        occurred_at=timestamp(message, "timestamp"),
        kind=kind,
        in_reply_to=message_id(object_under(message, "context"), "id")
        or message_id(object_under(message, "reaction"), "message_id"),
    )


def _sender(message: Json) -> str | None:
    """Return the person's number as WhatsApp writes it, else their id: with a user name, the number may be hidden."""
    number = digits(message, "from")
    return f"+{number}" if number else user_id(message, "from_user_id")


def _text_of(message: Json, kind: str) -> str | None:
    for *path, last in _TEXT_PATHS.get(kind, ()):
        place = message
        for name in path:
            place = object_under(place, name)
        if (found := text_under(place, last)) is not None:
            return found
    return None


_READERS: Mapping[str, Callable[[Item], ProviderEvent | None]] = {
    "messages": inbound_message,
    "statuses": status_report,
}
# https://developers.facebook.com/docs/whatsapp/business-management-api/webhooks/components
_TEMPLATE_FIELDS = frozenset(
    {
        "message_template_status_update",
        "message_template_components_update",
        "message_template_quality_update",
        "template_category_update",
    }
)


class WhatsAppHandshake:
    """Answers the request with which Meta verifies our webhook's address."""

    def __init__(self, settings: Settings) -> None:
        self._token = settings.webhook_verify_token.get_secret_value()

    def answer(self, query: Mapping[str, str]) -> str:
        challenge = query.get("hub.challenge", "")
        knows_us = equal_in_constant_time(self._token, query.get("hub.verify_token", ""))
        if query.get("hub.mode") != "subscribe" or not challenge or not knows_us:
            raise InvalidSignature("hub.verify_token is not ours: is WHATSAPP_WEBHOOK_VERIFY_TOKEN what Meta was told?")
        return challenge


class WhatsAppWebhooks:
    """Verifies and reads one app's webhooks; each configured app secret is accepted, so that it can be rotated."""

    def __init__(self, settings: Settings) -> None:
        self._secrets = [secret.get_secret_value().encode() for secret in settings.app_secrets]

    def verify(self, webhook: RawWebhook) -> None:
        given = webhook.headers.get("x-hub-signature-256", "")
        if not given:
            raise InvalidSignature("X-Hub-Signature-256 is missing.")
        for secret in self._secrets:
            # Over the bytes as they arrived: Meta escapes letters and slashes as our JSON library does not.
            if equal_in_constant_time(f"sha256={hmac.new(secret, webhook.body, 'sha256').hexdigest()}", given):
                return
        raise InvalidSignature("X-Hub-Signature-256 does not fit: is WHATSAPP_APP_SECRET the secret of this app?")

    def parse(self, webhook: RawWebhook) -> Sequence[ProviderEvent]:
        try:
            events = [_event(item) for item in split_batch(parse_json(webhook.body))]
        except RecursionError:  # nested so deeply that it can be decoded but not encoded again
            events = []
        return events or [_other("unknown", webhook.body.decode("utf-8", "replace"))]


def _event(item: Item) -> ProviderEvent:
    is_readable = isinstance(item.content, dict) and not item.is_whole_change
    event = _READERS[item.name](item) if is_readable else None
    return event or _other(item.name, item.raw)


def _other(name: str, raw: str) -> OtherEvent | TemplatesChanged:
    """Return an event about no message of ours; its key is a hash, so that a repeated one has the same key."""
    kind = TemplatesChanged if name in _TEMPLATE_FIELDS else OtherEvent
    return kind(f"sha256:{hashlib.sha256(raw.encode()).hexdigest()}", as_keyword(name) or "unknown", raw)
