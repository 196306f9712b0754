"""Sends SMS through Twilio. https://www.twilio.com/docs/messaging/api/message-resource#create-a-message-resource"""

from urllib.parse import quote

from core.ports import OutboundMessage, Receipt, TextContent
from integrations.http_client import HttpClient, HttpResponse, basic_auth
from integrations.twilio.errors import SID, STATUS, error_from_response, parse_object, redacted
from integrations.twilio.settings import Settings
from integrations.twilio.webhook import RETRY_FRAGMENT


class TwilioSender:
    """Sends from the configured number or messaging service."""

    def __init__(self, settings: Settings, http: HttpClient, webhook_url: str) -> None:
        self._http = http
        self._webhook_url = webhook_url
        account = settings.account_sid
        self._url = f"{settings.api_base.rstrip('/')}/2010-04-01/Accounts/{account}/Messages.json"
        self._authorization = authorization(settings)
        if settings.messaging_service_sid:
            self._sender = {"MessagingServiceSid": settings.messaging_service_sid}
        else:
            self._sender = {"From": settings.phone_number or ""}

    async def send(self, message: OutboundMessage) -> Receipt:
        assert isinstance(message.content, TextContent)  # noqa: S101  # accepted for this channel only as text
        answer = await self._http.call(
            "POST",
            self._url,
            headers={"authorization": self._authorization, "accept": "application/json"},
            form={
                "To": message.to,
                "Body": message.content.text,
                # The signature of a callback covers its address, so the reference in it cannot be forged.
                "StatusCallback": f"{self._webhook_url}?ref={quote(str(message.reference))}{RETRY_FRAGMENT}",
                **self._sender,
            },
        )
        return _receipt(answer)


def authorization(settings: Settings) -> str:
    """Return the Authorization header: the API key where there is one, else the auth token."""
    return key_authorization(settings) or account_authorization(settings)


def key_authorization(settings: Settings) -> str | None:
    """Return the header for the API key; None where there is none."""
    if settings.api_key_sid and settings.api_key_secret:
        return basic_auth(settings.api_key_sid, settings.api_key_secret.get_secret_value())
    return None


def account_authorization(settings: Settings) -> str:
    """Return the header for the auth token."""
    return basic_auth(settings.account_sid, settings.auth_token.get_secret_value())


def _receipt(answer: HttpResponse) -> Receipt:
    data = parse_object(answer)
    sid, status = str(data.get("sid")), str(data.get("status"))
    if answer.status in (200, 201) and SID.fullmatch(sid):
        return Receipt(sid, status if STATUS.fullmatch(status) else None, answer=redacted(answer))
    raise error_from_response(answer)
