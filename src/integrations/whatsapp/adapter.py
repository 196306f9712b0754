"""Sends messages through the Cloud API. https://developers.facebook.com/docs/whatsapp/cloud-api/reference/messages"""

import hmac
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from core.brazil import full_form
from core.errors import FailureParty, FailureReason, OutcomeUnknown, ProviderError, ProviderRejected
from core.ports import ButtonParameter, Content, OutboundMessage, Receipt, TemplateContent, TextContent
from integrations.http_client import HttpClient, HttpResponse
from integrations.whatsapp.errors import ERRORS, PROVIDER
from integrations.whatsapp.payloads import Json, first_object, number_under, object_under, parse_json, text_under
from integrations.whatsapp.settings import Settings

# What of an answer may be recorded unsealed. A trace's id has no fixed form: it must not look like a number or a token.
_RECORDED_FIELDS: Mapping[str, re.Pattern[str]] = {
    "message_status": re.compile("[a-z_]{1,40}"),
    "code": re.compile("[0-9]{1,7}"),
    "error_subcode": re.compile("[0-9]{1,7}"),
    "type": re.compile("[A-Z][A-Za-z]{0,30}Exception"),
    "fbtrace_id": re.compile("(?!EAA|.*[0-9]{6})[A-Za-z0-9_-]{1,32}"),
}


class GraphApi:
    """The Graph API in the configured version; `token` is what signs in."""

    def __init__(self, settings: Settings, http: HttpClient) -> None:
        self._http = http
        self._base = f"{settings.api_base.rstrip('/')}/{settings.api_version}"
        self.token = settings.access_token.get_secret_value()
        self._headers = {"authorization": f"Bearer {self.token}", "accept": "application/json"}
        self._proof = {"appsecret_proof": app_secret_proof(settings)} if settings.sends_proof else {}

    async def get(self, operation: str, path: str, **query: str) -> Json:
        """Read an object; `operation` is its name in the ledger. Raises a ProviderError."""
        url = f"{self._base}/{path}"
        answer = await self._http.counted_call(operation, "GET", url, headers=self._headers, query=query | self._proof)
        return _parse_object(answer)

    async def post(self, path: str, body: Json) -> tuple[Json, str]:
        """Send a request; return the answer, and what of it may be recorded. Raises a ProviderError."""
        url = f"{self._base}/{path}"
        answer = await self._http.call("POST", url, headers=self._headers, json=body, query=self._proof)
        data = _parse_object(answer)
        return data, redacted(answer, data)


def app_secret_proof(settings: Settings) -> str:
    """Return the proof that the caller knows both the access token and the app secret."""
    secret, token = settings.app_secret.get_secret_value(), settings.access_token.get_secret_value()
    return hmac.new(secret.encode(), token.encode(), "sha256").hexdigest()


def _parse_object(answer: HttpResponse) -> Json:
    data = parse_json(answer.body)
    if answer.status == 200 and isinstance(data, dict):
        return data
    raise error_from_response(answer, data)


def redacted(answer: HttpResponse, data: Any) -> str:
    """Return the answer as it may be recorded.

    Without the message's id, which is stored elsewhere and contains the person's number in base64, and without Meta's
    sentences, which may quote what was sent.
    """
    return answer.redacted({**object_under(data, "error"), **first_object(data, "messages")}, _RECORDED_FIELDS)


def error_from_response(answer: HttpResponse, data: Any) -> ProviderError:
    """Return the error for an answer; a success that cannot be read leaves the outcome unknown."""
    if answer.status < 300:
        return OutcomeUnknown(
            "Meta's answer cannot be read.",
            provider=PROVIDER,
            provider_code=str(answer.status),
            answer=redacted(answer, data),
        )
    error = object_under(data, "error")
    code, subcode = number_under(error, "code"), number_under(error, "error_subcode")
    if (code, subcode) == (100, 33):
        # For an unknown id in the address Meta answers 100, as for any wrong parameter; it means 33.
        code = 33
    return ERRORS.error(answer.status, code, subcode, retry_after=answer.retry_after, answer=redacted(answer, data))


# Sends messages through the Cloud API. https://developers.facebook.com/docs/whatsapp/cloud-api/reference/messages


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
