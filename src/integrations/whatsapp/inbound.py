"""Reading what people write to us. https://developers.facebook.com/docs/whatsapp/cloud-api/webhooks/components#messages-object"""

from collections.abc import Mapping

from core.ports import Channel, InboundMessage, OtherEvent
from integrations.whatsapp.batch import Item
from integrations.whatsapp.reading import Json, part, text
from integrations.whatsapp.words import digits, message_id, moment, user_id, word

EVENT = "received"
SYSTEM = "system"
"""A notice from WhatsApp in a person's name, such as a new number; they wrote nothing."""

# Type of message → where its words stand.
_WORDS: Mapping[str, tuple[tuple[str, ...], ...]] = {
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
    """Read one message, of a type we know or not; None where it does not say from whom, to whom or which it is."""
    message = item.content
    wamid, recipient = message_id(message, "id"), digits(part(item.value, "metadata"), "phone_number_id")
    sender, kind = _sender(message), word(message, "type") or "unknown"
    if wamid is None or recipient is None or sender is None:
        return None
    if kind == SYSTEM:
        return OtherEvent(wamid, word(part(message, SYSTEM), "type") or SYSTEM, item.raw)
    return InboundMessage(
        wamid,
        EVENT,
        item.raw,
        channel=Channel.WHATSAPP,
        sender=sender,
        recipient=recipient,
        text=_words(message, kind),
        provider_message_id=wamid,
        occurred_at=moment(message, "timestamp"),
        kind=kind,
        in_reply_to=message_id(part(message, "context"), "id") or message_id(part(message, "reaction"), "message_id"),
    )


def _sender(message: Json) -> str | None:
    """The person's number as WhatsApp writes it, else their id: who has a user name may show no number."""
    number = digits(message, "from")
    return f"+{number}" if number else user_id(message, "from_user_id")


def _words(message: Json, kind: str) -> str | None:
    for *path, last in _WORDS.get(kind, ()):
        place = message
        for name in path:
            place = part(place, name)
        if (found := text(place, last)) is not None:
            return found
    return None
