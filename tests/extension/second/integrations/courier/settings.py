"""The settings of the second provider for SMS."""

from pydantic import SecretStr

from core.settings import IntegrationSettings, setting


class Settings(IntegrationSettings):
    """What comes with its webhooks, and the name that sends."""

    token: SecretStr = setting("COURIER_TOKEN", about="Signs webhooks", fix="16 letters", matches="[a-z]{16}")
    sender_name: str = setting("COURIER_SENDER", about="The name that sends", fix="letters", matches="[A-Z]+")

    @property
    def base_addresses(self) -> tuple[str, ...]:
        return ("http://127.0.0.1:9",)
