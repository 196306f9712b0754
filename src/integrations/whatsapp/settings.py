"""WhatsApp's settings, as Meta's console shows them. https://developers.facebook.com/docs/whatsapp/cloud-api/get-started"""

from typing import Annotated

from pydantic import Field, SecretStr

from core.ports import Pace
from core.settings import IntegrationSettings, setting
from core.settings.addresses import WebAddress


class Settings(IntegrationSettings):
    """The number of a business account, its credentials, and the secrets of its webhooks."""

    access_token: SecretStr = setting(
        "WHATSAPP_ACCESS_TOKEN",
        about="A system user's token that may send messages",
        fix="one word, normally beginning with EAA, from Business settings > System users",
        matches=r"\S+",
        example="EAAdummy",
    )
    phone_number_id: str = setting(
        "WHATSAPP_PHONE_NUMBER_ID",
        about="The id of the number that sends, not the number itself",
        fix="5 to 20 digits, under WhatsApp > API setup",
        matches="[0-9]{5,20}",
        example="100000000000001",
    )
    business_account_id: str = setting(
        "WHATSAPP_BUSINESS_ACCOUNT_ID",
        about="The WhatsApp business account",
        fix="5 to 20 digits, under WhatsApp > API setup",
        matches="[0-9]{5,20}",
        example="200000000000002",
    )
    app_secrets: tuple[SecretStr, ...] = setting(
        "WHATSAPP_APP_SECRET",
        about="Signs webhooks; while rotating, the new and the old one separated by a comma",
        fix="32 hexadecimal digits in lower case, under App settings > Basic",
        matches="[0-9a-f]{32}",
        several=True,
        example="00000000000000000000000000000000",
    )
    webhook_verify_token: SecretStr = setting(
        "WHATSAPP_WEBHOOK_VERIFY_TOKEN",
        about="A word of your own that Meta repeats when the webhook is set up",
        fix="16 characters or more, without spaces. Create one: openssl rand -hex 16",
        matches=r"\S{16,}",
        example="a-word-only-you-and-meta-know",
    )
    sends_proof: bool = setting(
        "WHATSAPP_APP_SECRET_PROOF",
        default=False,
        about="Whether calls also prove that we know the app secret; needed where Meta is told to require it",
        fix="true or false, as App settings > Advanced > Require app secret says",
    )
    messages_per_second: Annotated[int, Field(ge=1, le=1000)] = setting(
        "WHATSAPP_MESSAGES_PER_SECOND",
        default=80,
        about="How fast the number may send, all workers together",
        fix="1 to 1000: 80 unless Meta has raised the number, 20 where the WhatsApp Business app uses it too",
        matches="[1-9][0-9]{0,3}",
    )
    api_version: str = setting(
        "WHATSAPP_API_VERSION",
        default="v26.0",
        about="The version of the Graph API",
        fix="like v26.0",
        matches=r"v[0-9]+\.0",
    )
    api_base: WebAddress = setting(
        "WHATSAPP_API_BASE",
        default="https://graph.facebook.com",
        about="Where the Graph API is",
        fix="https://host; http only for this machine",
    )

    @property
    def app_secret(self) -> SecretStr:
        """The app secret that proves calls; all of them verify webhooks."""
        return self.app_secrets[0]

    @property
    def pace(self) -> Pace:
        """To one person a message every six seconds, or up to 45 at once that use the following slots in advance.

        https://developers.facebook.com/docs/whatsapp/cloud-api/overview#pair-rate-limits
        """
        return Pace(
            self.messages_per_second,
            burst=max(1, self.messages_per_second // 10),
            recipient_interval=6.0,
            recipient_burst=45,
        )

    @property
    def base_addresses(self) -> tuple[str, ...]:
        return (self.api_base,)
