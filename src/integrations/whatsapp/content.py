"""Our message as the Cloud API wants it. https://developers.facebook.com/docs/whatsapp/cloud-api/reference/messages"""

import re
from collections.abc import Iterator, Mapping, Sequence

from core.brazil import full_form
from core.errors import FailureParty, FailureReason, ProviderRejected
from core.ports import ButtonParameter, Content, OutboundMessage, TemplateContent, TextContent
from integrations.whatsapp.errors import PROVIDER
from integrations.whatsapp.reading import Json

TEXT_LIMIT = 4096
"""Characters of a text."""
_NUMBER = re.compile(r"\+?([0-9]{5,20})")

# A template's button → what its component is called, and its parameter's type and field.
# https://developers.facebook.com/docs/whatsapp/cloud-api/reference/messages#button-parameter-object
_BUTTONS: Mapping[str, tuple[str, str, str]] = {
    "QUICK_REPLY": ("quick_reply", "payload", "payload"),
    "URL": ("url", "text", "text"),
    "COPY_CODE": ("copy_code", "coupon_code", "coupon_code"),
    # The button that copies a one-time code is a link in disguise.
    "OTP": ("url", "text", "text"),
}


def message_body(message: OutboundMessage) -> Json:
    """The whole body; raises ProviderRejected for a text that is too long."""
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
    """A number as WhatsApp writes it, the Brazilian 9 in its place; None for an id that is no number."""
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
    sub_type, parameter, field = _BUTTONS.get(kind, (kind.lower(), "text", "text"))
    parameters = [{"type": parameter, field: button.text}]
    return {"type": "button", "sub_type": sub_type, "index": str(button.index), "parameters": parameters}
