"""Saying a message to WhatsApp. https://developers.facebook.com/docs/whatsapp/cloud-api/reference/messages"""

import re

from core.errors import FailureParty, FailureReason, OutcomeUnknown, ProviderRejected
from core.ports import OutboundMessage, Receipt
from integrations.whatsapp.content import digits_of, message_body
from integrations.whatsapp.errors import PROVIDER
from integrations.whatsapp.graph import Graph
from integrations.whatsapp.reading import Json, first, text
from integrations.whatsapp.settings import Settings

_WAMID = re.compile(r"wamid\.[A-Za-z0-9+/=_-]{1,250}")
_RECIPIENT = re.compile(r"[0-9]{5,20}|[A-Z]{2}\.[A-Za-z0-9.]{1,150}")
_WORD = re.compile("[a-z_]{1,32}")
PAUSED = "paused"


class WhatsAppSender:
    """Sends from the configured number."""

    def __init__(self, settings: Settings, graph: Graph) -> None:
        self._graph = graph
        self._path = f"{settings.phone_number_id}/messages"

    async def send(self, message: OutboundMessage) -> Receipt:
        answer, kept = await self._graph.post(self._path, message_body(message))
        return _receipt(answer, message.to, kept)


def _receipt(answer: Json, to: str, kept: str) -> Receipt:
    taken = first(answer, "messages")
    wamid, status = text(taken, "id") or "", text(taken, "message_status") or ""
    if status == PAUSED:
        raise ProviderRejected(
            "The template is paused since people complained: the message is not sent.",
            provider=PROVIDER,
            provider_code=PAUSED,
            reason=FailureReason.TEMPLATE_REJECTED,
            party=FailureParty.OPERATOR,
            answer=kept,
        )
    if not _WAMID.fullmatch(wamid):
        raise OutcomeUnknown("Meta's answer names no message.", provider=PROVIDER, provider_code="200", answer=kept)
    # "accepted", or "held_for_quality_assessment": sent later, or else reported as failed.
    return Receipt(wamid, status if _WORD.fullmatch(status) else None, _recipient_id(answer, to), kept)


def _recipient_id(answer: Json, to: str) -> str | None:
    contact = first(answer, "contacts")
    found = text(contact, "wa_id") or text(contact, "user_id") or ""
    return found if _RECIPIENT.fullmatch(found) and found not in (to, digits_of(to)) else None
