"""Calls to the Graph API, signed in as a system user. https://developers.facebook.com/docs/graph-api/guides/secure-requests"""

import hmac
import re
from collections.abc import Mapping
from typing import Any

from core.errors import OutcomeUnknown, ProviderError
from integrations.http_client import HttpClient, HttpResponse
from integrations.whatsapp.errors import ERRORS, PROVIDER
from integrations.whatsapp.payloads import Json, first_object, number_under, object_under, parse_json
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

    async def get(self, path: str, **query: str) -> Json:
        """Read an object; raises a ProviderError."""
        answer = await self._http.call("GET", f"{self._base}/{path}", headers=self._headers, query=query | self._proof)
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
