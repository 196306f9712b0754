"""Stripe's settings, as its dashboard shows them. https://docs.stripe.com/keys"""

from collections.abc import Iterator, Mapping
from typing import Annotated

from pydantic import AfterValidator, SecretStr

from core.settings import IntegrationSettings, Problem, setting
from core.settings.addresses import WebAddress
from core.settings.values import check_publishable_key, mode_problems


class Settings(IntegrationSettings):
    """The keys of an account, all of one mode, and what signs its webhooks."""

    secret_key: SecretStr = setting(
        "STRIPE_SECRET_KEY",
        about="Signs in; a restricted key (rk_) is enough",
        fix="begins with rk_test_, sk_test_, rk_live_ or sk_live_, under Developers > API keys",
        matches="(sk|rk)_(test|live)_[A-Za-z0-9]+",
        example="rk_test_dummy",
    )
    publishable_key: Annotated[str, AfterValidator(check_publishable_key)] = setting(
        "NEXT_PUBLIC_STRIPE_PUBLISHABLE_KEY",
        "STRIPE_PUBLISHABLE_KEY",
        about="The key browsers pay with",
        fix="begins with pk_test_ or pk_live_, under Developers > API keys",
        example="pk_test_dummy",
    )
    webhook_secrets: tuple[SecretStr, ...] = setting(
        "STRIPE_WEBHOOK_SECRET",
        about="Signs webhooks; while rotating, the new and the old one separated by a comma",
        fix="begins with whsec_, under Developers > Webhooks > the endpoint",
        matches=r"whsec_[^\s,]+",
        several=True,
        example="whsec_dummy",
    )
    api_base: WebAddress = setting(
        "STRIPE_API_BASE",
        default="https://api.stripe.com",
        about="Where Stripe's API is",
        fix="https://host; http only for this machine",
    )

    @property
    def base_addresses(self) -> tuple[str, ...]:
        return (self.api_base,)

    def is_sandbox(self) -> bool:
        return "_test_" in self.secret_key.get_secret_value()

    @classmethod
    def rules(cls, given: Mapping[str, str]) -> Iterator[Problem]:
        """Both keys are of one mode, and live only in production."""
        yield from mode_problems(given, "STRIPE_SECRET_KEY", "NEXT_PUBLIC_STRIPE_PUBLISHABLE_KEY")
