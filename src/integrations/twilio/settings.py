"""What Twilio's console tells you. https://www.twilio.com/docs/iam/api"""

from collections.abc import Iterator, Mapping

from pydantic import SecretStr

from core.settings import IntegrationSettings, Problem, setting
from core.settings.addresses import WebAddress
from core.settings.rules import together


class Settings(IntegrationSettings):
    """An account, what signs in to it, and at least one sender."""

    account_sid: str = setting(
        "TWILIO_ACCOUNT_SID",
        about="The account",
        mend="AC and 32 hexadecimal digits, on the console's first page",
        matches="AC[0-9a-fA-F]{32}",
        example="AC00000000000000000000000000000000",
    )
    auth_tokens: tuple[SecretStr, ...] = setting(
        "TWILIO_AUTH_TOKEN",
        about="Signs in and signs webhooks; while rotating, the new and the old one separated by a comma",
        mend="32 hexadecimal digits, under the account SID on the console's first page",
        matches="[0-9a-fA-F]{32}",
        several=True,
        example="00000000000000000000000000000000",
    )
    api_key_sid: str | None = setting(
        "TWILIO_API_KEY_SID",
        default=None,
        about="An API key for sending in place of the auth token (optional)",
        mend="SK and 32 hexadecimal digits, under API keys & tokens",
        matches="SK[0-9a-fA-F]{32}",
        example="SK00000000000000000000000000000000",
    )
    api_key_secret: SecretStr | None = setting(
        "TWILIO_API_KEY_SECRET",
        default=None,
        about="The API key's secret (optional)",
        mend="shown once, when the key is created",
    )
    phone_number: str | None = setting(
        "TWILIO_PHONE_NUMBER",
        default=None,
        about="The number or short code that sends; this or a messaging service is needed",
        mend="+ and the number with its country code, or the 3 to 8 digits of a short code, under Active numbers",
        matches=r"\+[1-9][0-9]{6,14}|[0-9]{3,8}",
        example="+15005550006",
    )
    messaging_service_sid: str | None = setting(
        "TWILIO_MESSAGING_SERVICE_SID",
        default=None,
        about="The messaging service that sends, in place of a single number",
        mend="MG and 32 hexadecimal digits, under Messaging > Services",
        matches="MG[0-9a-fA-F]{32}",
        example="MG00000000000000000000000000000000",
    )
    api_base: WebAddress = setting(
        "TWILIO_API_BASE",
        default="https://api.twilio.com",
        about="Where Twilio's API is",
        mend="https://host; http only for this machine",
    )

    @property
    def auth_token(self) -> SecretStr:
        """The auth token that signs in; all of them verify webhooks."""
        return self.auth_tokens[0]

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
