"""The carrier's settings."""

from pydantic import SecretStr

from core.settings import IntegrationSettings, setting


class Settings(IntegrationSettings):
    """What signs webhooks, and the depot that is ours."""

    webhook_secret: SecretStr = setting(
        "PARCELPOST_WEBHOOK_SECRET",
        about="Signs webhooks",
        fix="16 letters or more",
        matches="[a-z]{16,}",
        example="a" * 16,
    )
    depot: str = setting("PARCELPOST_DEPOT", about="Our depot", fix="its name", matches="[A-Z]+", example="SANTOS")

    @property
    def base_addresses(self) -> tuple[str, ...]:
        return ("https://parcelpost.example",)
