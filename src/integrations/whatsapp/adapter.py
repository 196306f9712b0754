"""Sends messages through the Cloud API. https://developers.facebook.com/docs/whatsapp/cloud-api/reference/messages"""

import re
from collections.abc import Iterator, Mapping, Sequence

from core.brazil import full_form
from core.errors import FailureParty, FailureReason, OutcomeUnknown, ProviderRejected
from core.ports import ButtonParameter, Content, OutboundMessage, Receipt, TemplateContent, TextContent
from integrations.whatsapp.errors import PROVIDER
from integrations.whatsapp.graph_api import GraphApi
from integrations.whatsapp.payloads import Json, first_object, text_under
from integrations.whatsapp.settings import Settings

TEXT_LIMIT = 4096
"""Characters of a text."""
_NUMBER = re.compile(r"\+?([0-9]{5,20})")

# A template's button → the name of its component, and the type and field of its parameter.
# https://developers.facebook.com/docs/whatsapp/cloud-api/reference/messages#button-parameter-object
_BUTTON_PARAMETERS: Mapping[str, tuple[str, str, str]] = {
    "QUICK_REPLY": ("quick_reply", "payload", "payload"),
    "URL": ("url", "text", "text"),
    "COPY_CODE": ("copy_code", "coupon_code", "coupon_code"),
    # The button that copies a one-time code is sent as a link.
    "OTP": ("url", "text", "text"),
}


def message_body(message: OutboundMessage) -> Json:
    """Return the body of the request; raises ProviderRejected for a text that is too long."""
    body = {
        "messaging_product": "whatsapp",
        "recipient_type": "individual",
        **_recipient(message.to),
        "biz_opaque_callback_data": str(message.reference),
        **_content(message.content),
    }
    if message.in_reply_to:
        body["context"] = {"message_id": message.in_reply_to}
    return body


def digits_of(address: str) -> str | None:
    """Return a number as WhatsApp writes it, with the ninth digit in Brazil; None for an id that is no number."""
    match = _NUMBER.fullmatch(address)
    return full_form(match[1]) if match else None


def _recipient(address: str) -> Json:
    digits = digits_of(address)
    return {"recipient": address} if digits is None else {"to": digits}


def _content(content: Content) -> Json:
    if isinstance(content, TemplateContent):
        return {"type": "template", "template": _template(content)}
    assert isinstance(content, TextContent)  # noqa: S101  # this channel carries nothing else
    if len(content.text) > TEXT_LIMIT:
        raise ProviderRejected(
            f"The text is longer than {TEXT_LIMIT} characters.",
            provider=PROVIDER,
            reason=FailureReason.CONTENT_REJECTED,
            party=FailureParty.CALLER,
        )
    return {"type": "text", "text": {"body": content.text}}


def _template(content: TemplateContent) -> Json:
    language = {"code": content.locale.replace("-", "_")}
    return {"name": content.name, "language": language, "components": list(_components(content))}


def _components(content: TemplateContent) -> Iterator[Json]:
    for kind, parameters in (("header", content.header), ("body", content.body)):
        if parameters:
            yield {"type": kind, "parameters": _parameters(parameters)}
    for button in content.buttons:
        yield _button(button)


def _parameters(given: Sequence[tuple[str | None, str]]) -> list[Json]:
    return [{"type": "text", "text": text} | ({"parameter_name": name} if name else {}) for name, text in given]


def _button(button: ButtonParameter) -> Json:
    kind = button.kind.upper()
    sub_type, parameter, field = _BUTTON_PARAMETERS.get(kind, (kind.lower(), "text", "text"))
    parameters = [{"type": parameter, field: button.text}]
    return {"type": "button", "sub_type": sub_type, "index": str(button.index), "parameters": parameters}


# Sending a message. https://developers.facebook.com/docs/whatsapp/cloud-api/reference/messages


_WAMID = re.compile(r"wamid\.[A-Za-z0-9+/=_-]{1,250}")
_RECIPIENT = re.compile(r"[0-9]{5,20}|[A-Z]{2}\.[A-Za-z0-9.]{1,150}")
_STATUS = re.compile("[a-z_]{1,32}")
PAUSED = "paused"


class WhatsAppSender:
    """Sends from the configured number."""

    def __init__(self, settings: Settings, graph: GraphApi) -> None:
        self._graph = graph
        self._path = f"{settings.phone_number_id}/messages"

    async def send(self, message: OutboundMessage) -> Receipt:
        answer, record = await self._graph.post(self._path, message_body(message))
        return _receipt(answer, message.to, record)


def _receipt(answer: Json, to: str, record: str) -> Receipt:
    accepted = first_object(answer, "messages")
    wamid, status = text_under(accepted, "id") or "", text_under(accepted, "message_status") or ""
    if status == PAUSED:
        raise ProviderRejected(
            "The template is paused since people complained: the message is not sent.",
            provider=PROVIDER,
            provider_code=PAUSED,
            reason=FailureReason.TEMPLATE_REJECTED,
            party=FailureParty.OPERATOR,
            answer=record,
        )
    if not _WAMID.fullmatch(wamid):
        raise OutcomeUnknown("Meta's answer names no message.", provider=PROVIDER, provider_code="200", answer=record)
    # The status is "accepted", or "held_for_quality_assessment": then it is sent later, or reported as failed.
    return Receipt(wamid, status if _STATUS.fullmatch(status) else None, _recipient_id(answer, to), record)


def _recipient_id(answer: Json, to: str) -> str | None:
    contact = first_object(answer, "contacts")
    found = text_under(contact, "wa_id") or text_under(contact, "user_id") or ""
    return found if _RECIPIENT.fullmatch(found) and found not in (to, digits_of(to)) else None
