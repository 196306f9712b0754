"""Twilio's settings, as its console shows them. https://www.twilio.com/docs/iam/api"""

import re
from collections.abc import Iterator, Mapping
from typing import Annotated

from pydantic import Field, SecretStr

from core.ports import Pace
from core.settings import IntegrationSettings, Problem, setting
from core.settings.addresses import WebAddress
from core.settings.values import together

# Messages a second that a sender carries unless Twilio has raised it; more of them wait for hours in Twilio's queue.
# https://www.twilio.com/docs/messaging/guides/rate-limits
_SHORT_CODE, _TOLL_FREE, _NORTH_AMERICAN, _ELSEWHERE = 100, 3, 1, 10


class Settings(IntegrationSettings):
    """An account, its credentials, and at least one sender."""

    account_sid: str = setting(
        "TWILIO_ACCOUNT_SID",
        about="The account",
        fix="AC and 32 hexadecimal digits, on the console's first page",
        matches="AC[0-9a-fA-F]{32}",
        example="AC00000000000000000000000000000000",
    )
    auth_tokens: tuple[SecretStr, ...] = setting(
        "TWILIO_AUTH_TOKEN",
        about="Signs in and signs webhooks; while rotating, the new and the old one separated by a comma",
        fix="32 hexadecimal digits, under the account SID on the console's first page",
        matches="[0-9a-fA-F]{32}",
        several=True,
        example="00000000000000000000000000000000",
    )
    api_key_sid: str | None = setting(
        "TWILIO_API_KEY_SID",
        default=None,
        about="An API key for sending in place of the auth token (optional)",
        fix="SK and 32 hexadecimal digits, under API keys & tokens",
        matches="SK[0-9a-fA-F]{32}",
        example="SK00000000000000000000000000000000",
    )
    api_key_secret: SecretStr | None = setting(
        "TWILIO_API_KEY_SECRET",
        default=None,
        about="The API key's secret (optional)",
        fix="shown once, when the key is created",
    )
    phone_number: str | None = setting(
        "TWILIO_PHONE_NUMBER",
        default=None,
        about="The number or short code that sends; this or a messaging service is needed",
        fix="+ and the number with its country code, or the 3 to 8 digits of a short code, under Active numbers",
        matches=r"\+[1-9][0-9]{6,14}|[0-9]{3,8}",
        example="+15005550006",
    )
    messaging_service_sid: str | None = setting(
        "TWILIO_MESSAGING_SERVICE_SID",
        default=None,
        about="The messaging service that sends, in place of a single number",
        fix="MG and 32 hexadecimal digits, under Messaging > Services",
        matches="MG[0-9a-fA-F]{32}",
        example="MG00000000000000000000000000000000",
    )
    messages_per_second: Annotated[int, Field(ge=1, le=4000)] | None = setting(
        "TWILIO_MESSAGES_PER_SECOND",
        default=None,
        about="How fast the sender may send, all workers together (default: by its kind; a messaging service unpaced)",
        fix="1 to 4000: a North American number 1, toll-free 3, a number elsewhere 10, a short code 100, or as agreed",
        matches="[1-9][0-9]{0,3}",
        example="10",
    )
    api_base: WebAddress = setting(
        "TWILIO_API_BASE",
        default="https://api.twilio.com",
        about="Where Twilio's API is",
        fix="https://host; http only for this machine",
    )

    @property
    def auth_token(self) -> SecretStr:
        """The auth token that signs in; all of them verify webhooks."""
        return self.auth_tokens[0]

    @property
    def pace(self) -> Pace | None:
        """How fast the sender may send; None for a messaging service, which paces its senders itself."""
        rate = self.messages_per_second or self._default_rate()
        return None if rate is None else Pace(rate, burst=max(1, rate // 10))

    def _default_rate(self) -> int | None:
        number = self.phone_number
        if self.messaging_service_sid or number is None:
            return None
        if not number.startswith("+"):
            return _SHORT_CODE
        if re.match(r"\+18(00|33|44|55|66|77|88)", number):
            return _TOLL_FREE
        return _NORTH_AMERICAN if number.startswith("+1") else _ELSEWHERE

    @property
    def base_addresses(self) -> tuple[str, ...]:
        return (self.api_base,)

    @classmethod
    def rules(cls, given: Mapping[str, str]) -> Iterator[Problem]:
        """A sender is needed; an API key has two halves."""
        yield from together(given, "TWILIO_API_KEY_SID", "TWILIO_API_KEY_SECRET")
        if not {"TWILIO_PHONE_NUMBER", "TWILIO_MESSAGING_SERVICE_SID"} & given.keys():
            message = "is missing: set it, or TWILIO_MESSAGING_SERVICE_SID, to say who sends"
            yield Problem("TWILIO_PHONE_NUMBER", message, missing=True)
