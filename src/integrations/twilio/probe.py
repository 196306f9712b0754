"""Asking Twilio whether it lets us in. https://www.twilio.com/docs/iam/api/account"""

import json
from collections.abc import Sequence

from core.errors import ProviderError
from core.ports import Finding, Severity
from integrations.kit import Http
from integrations.twilio.adapter import authorization, refusal
from integrations.twilio.settings import Settings


class TwilioProbe:
    """Reads our own account; sends nothing to anybody."""

    def __init__(self, settings: Settings, http: Http) -> None:
        self._http = http
        self._url = f"{settings.api_base.rstrip('/')}/2010-04-01/Accounts/{settings.account_sid}.json"
        self._authorization = authorization(settings)

    async def check(self) -> Sequence[Finding]:
        try:
            answer = await self._http.call("GET", self._url, headers={"authorization": self._authorization})
        except ProviderError as error:
            return [Finding("TWILIO_UNREACHABLE", Severity.CRITICAL, error.message, "See status.twilio.com.")]
        if answer.status != 200:
            found = refusal(answer)
            fix = "Compare TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN with Twilio's console."
            return [Finding("TWILIO_REFUSES_US", Severity.CRITICAL, found.message, fix)]
        try:
            status = json.loads(answer.body).get("status")
        except (ValueError, AttributeError):
            status = None
        if status != "active":
            detail = f"The account's status is {status!r}, not active."
            return [Finding("TWILIO_ACCOUNT_NOT_ACTIVE", Severity.CRITICAL, detail, "Sign in to Twilio's console.")]
        return []
