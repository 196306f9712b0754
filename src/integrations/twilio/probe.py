"""Checks whether Twilio accepts our credentials. https://www.twilio.com/docs/iam/api/account"""

import json
from collections.abc import Sequence

from core.errors import ProviderError, ProviderMisconfigured
from core.ports import Finding, Severity
from integrations.http_client import HttpClient, HttpResponse
from integrations.twilio.adapter import account_authorization, key_authorization
from integrations.twilio.errors import error_from_response
from integrations.twilio.settings import Settings


class TwilioProbe:
    """Reads the account, and with the API key one message; sends nothing."""

    def __init__(self, settings: Settings, http: HttpClient) -> None:
        self._http = http
        self._account_url = f"{settings.api_base.rstrip('/')}/2010-04-01/Accounts/{settings.account_sid}"
        self._token = account_authorization(settings)
        self._key = key_authorization(settings)

    async def check(self) -> Sequence[Finding]:
        return [*await self._check_account(), *await self._check_key()]

    async def _check_account(self) -> Sequence[Finding]:
        """Use the auth token, which also signs the webhooks: an API key may not read the account."""
        answer = await self._ask(f"{self._account_url}.json", self._token)
        if isinstance(answer, ProviderError):
            return [_finding(answer, "Compare TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN with Twilio's console.")]
        try:
            status = json.loads(answer.body).get("status")
        except (ValueError, AttributeError, RecursionError):
            status = None
        if status == "active":
            return []
        detail = f"The account's status is {status!r}, not active."
        return [Finding("TWILIO_ACCOUNT_NOT_ACTIVE", Severity.CRITICAL, detail, "Sign in to Twilio's console.")]

    async def _check_key(self) -> Sequence[Finding]:
        if self._key is None:
            return []
        answer = await self._ask(f"{self._account_url}/Messages.json", self._key, query={"PageSize": "1"})
        if isinstance(answer, ProviderError):
            fix = (
                "Compare TWILIO_API_KEY_SID and TWILIO_API_KEY_SECRET with Twilio's console, and the key's permissions."
            )
            return [_finding(answer, fix)]
        return []

    async def _ask(
        self, url: str, authorization: str, query: dict[str, str] | None = None
    ) -> HttpResponse | ProviderError:
        try:
            answer = await self._http.counted_call(
                "probe", "GET", url, headers={"authorization": authorization}, query=query
            )
        except ProviderError as error:
            return error
        return answer if answer.status == 200 else error_from_response(answer)


def _finding(error: ProviderError, fix: str) -> Finding:
    if isinstance(error, ProviderMisconfigured):
        return Finding("TWILIO_REFUSES_US", Severity.CRITICAL, error.message, fix)
    return Finding("TWILIO_UNREACHABLE", Severity.CRITICAL, error.message, "See status.twilio.com.")
