"""Saying an SMS to Twilio. https://www.twilio.com/docs/messaging/api/message-resource#create-a-message-resource"""

import json
import re
from typing import Any
from urllib.parse import quote

from core.errors import OutcomeUnknown, ProviderError
from core.ports import OutboundMessage, Receipt, TextContent
from integrations.kit import Answer, Http, basic_auth
from integrations.twilio.errors import PROVIDER, error_of
from integrations.twilio.settings import Settings

_SID = re.compile("(SM|MM)[0-9a-fA-F]{32}")
_CODE = re.compile("[0-9]{5}")
_STATUS = re.compile("[a-z_]{1,32}")


class TwilioSender:
    """Sends from the configured number or messaging service."""

    def __init__(self, settings: Settings, http: Http, webhook_url: str) -> None:
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
                # Signed as part of the address, so what comes back as our reference is ours.
                "StatusCallback": f"{self._webhook_url}?ref={quote(str(message.reference))}",
                **self._sender,
            },
        )
        return _read(answer)


def authorization(settings: Settings) -> str:
    """Sign in with the API key where there is one, else with the auth token."""
    return key_authorization(settings) or account_authorization(settings)


def key_authorization(settings: Settings) -> str | None:
    """Sign in with the API key; None where there is none."""
    if settings.api_key_sid and settings.api_key_secret:
        return basic_auth(settings.api_key_sid, settings.api_key_secret.get_secret_value())
    return None


def account_authorization(settings: Settings) -> str:
    """Sign in with the auth token."""
    return basic_auth(settings.account_sid, settings.auth_token.get_secret_value())


def _read(answer: Answer) -> Receipt:
    data = _json(answer)
    sid, status = str(data.get("sid")), str(data.get("status"))
    if answer.status in (200, 201) and _SID.fullmatch(sid):
        return Receipt(sid, status if _STATUS.fullmatch(status) else None)
    raise refusal(answer)


def refusal(answer: Answer) -> ProviderError:
    """The error an answer stands for; a success nobody can read leaves the outcome unknown."""
    if answer.status < 300:
        return OutcomeUnknown("Twilio's answer cannot be read.", provider=PROVIDER, provider_code=str(answer.status))
    code = str(_json(answer).get("code"))
    return error_of(answer.status, code if _CODE.fullmatch(code) else None, retry_after=answer.retry_after)


def _json(answer: Answer) -> dict[str, Any]:
    try:
        data = json.loads(answer.body)
    except (ValueError, RecursionError):
        return {}
    return data if isinstance(data, dict) else {}
