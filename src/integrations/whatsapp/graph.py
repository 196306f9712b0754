"""Calls to the Graph API, signed in as a system user. https://developers.facebook.com/docs/graph-api/guides/secure-requests"""

import hmac
import re
from collections.abc import Mapping
from typing import Any

from core.errors import OutcomeUnknown, ProviderError
from integrations.kit import Answer, Http
from integrations.whatsapp.errors import PROVIDER, error_of
from integrations.whatsapp.reading import Json, first, load, number, part
from integrations.whatsapp.settings import Settings

# What of an answer may be kept in plain. A trace's id looks like anything: not like a number, and not like a token.
_KEPT: Mapping[str, re.Pattern[str]] = {
    "message_status": re.compile("[a-z_]{1,40}"),
    "code": re.compile("[0-9]{1,7}"),
    "error_subcode": re.compile("[0-9]{1,7}"),
    "type": re.compile("[A-Z][A-Za-z]{0,30}Exception"),
    "fbtrace_id": re.compile("(?!EAA|.*[0-9]{6})[A-Za-z0-9_-]{1,32}"),
}


class Graph:
    """The Graph API in the configured version; `token` is what signs in."""

    def __init__(self, settings: Settings, http: Http) -> None:
        self._http = http
        self._base = f"{settings.api_base.rstrip('/')}/{settings.api_version}"
        self.token = settings.access_token.get_secret_value()
        self._headers = {"authorization": f"Bearer {self.token}", "accept": "application/json"}
        self._proof = {"appsecret_proof": proof(settings)} if settings.sends_proof else {}

    async def get(self, path: str, **query: str) -> Json:
        """Read an object; raises a ProviderError."""
        answer = await self._http.call("GET", f"{self._base}/{path}", headers=self._headers, query=query | self._proof)
        return _read(answer)

    async def post(self, path: str, body: Json) -> tuple[Json, str]:
        """Ask for something to be done: what is answered, and as much of it as may be kept; raises a ProviderError."""
        url = f"{self._base}/{path}"
        answer = await self._http.call("POST", url, headers=self._headers, json=body, query=self._proof)
        data = _read(answer)
        return data, in_plain(answer, data)


def proof(settings: Settings) -> str:
    """What shows that whoever holds the token knows the app secret, too."""
    secret, token = settings.app_secret.get_secret_value(), settings.access_token.get_secret_value()
    return hmac.new(secret.encode(), token.encode(), "sha256").hexdigest()


def _read(answer: Answer) -> Json:
    data = load(answer.body)
    if answer.status == 200 and isinstance(data, dict):
        return data
    raise refusal(answer, data)


def in_plain(answer: Answer, data: Any) -> str:
    """The answer as it may be kept.

    Without the message's id, which is kept beside it and spells the person's number in base64, and without Meta's
    sentences, which may quote what was sent.
    """
    return answer.in_plain({**part(data, "error"), **first(data, "messages")}, _KEPT)


def refusal(answer: Answer, data: Any) -> ProviderError:
    """The error an answer stands for; a success nobody can read leaves the outcome unknown."""
    if answer.status < 300:
        return OutcomeUnknown(
            "Meta's answer cannot be read.",
            provider=PROVIDER,
            provider_code=str(answer.status),
            answer=in_plain(answer, data),
        )
    error = part(data, "error")
    code, subcode = number(error, "code"), number(error, "error_subcode")
    if (code, subcode) == (100, 33):
        # An id in our address that Meta does not know says 100 like any wrong parameter, and means 33.
        code = 33
    return error_of(answer.status, code, subcode, retry_after=answer.retry_after, answer=in_plain(answer, data))
