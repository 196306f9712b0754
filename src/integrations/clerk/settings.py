"""What Clerk's dashboard tells you. https://clerk.com/docs/deployments/clerk-environment-variables"""

from collections.abc import Iterator, Mapping
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, SecretStr

from core.settings import IntegrationSettings, Problem, setting
from core.settings.addresses import WebAddress
from core.settings.key_modes import mode_problems
from integrations.clerk.keys import check_publishable_key, check_webhook_secrets, frontend_host, public_key


class Settings(IntegrationSettings):
    """The keys of an instance, all of one mode, what its sessions are verified with, and what signs its webhooks."""

    secret_key: SecretStr = setting(
        "CLERK_SECRET_KEY",
        about="Signs in to the backend API",
        mend="begins with sk_test_ or sk_live_, under Configure > API keys",
        matches="sk_(test|live)_[A-Za-z0-9]{20,}",
        example="sk_test_00000000000000000000dummy",
    )
    publishable_key: Annotated[str, AfterValidator(check_publishable_key)] = setting(
        "NEXT_PUBLIC_CLERK_PUBLISHABLE_KEY",
        "CLERK_PUBLISHABLE_KEY",
        about="The key browsers sign in with; it names the issuer of sessions",
        mend="begins with pk_test_ or pk_live_, under Configure > API keys",
        example="pk_test_Y2xlcmsuZXhhbXBsZS5jb20k",
    )
    jwt_key: Annotated[str, BeforeValidator(public_key)] | None = setting(
        "CLERK_JWT_KEY",
        default=None,
        about="The public key sessions are verified with (default: fetched from CLERK_JWKS_URL)",
        mend="a PEM public key (-----BEGIN PUBLIC KEY-----), RSA, under Configure > API keys > JWKS public key",
    )
    webhook_secrets: Annotated[tuple[SecretStr, ...], AfterValidator(check_webhook_secrets)] = setting(
        "CLERK_WEBHOOK_SIGNING_SECRET",
        about="Signs webhooks; while rotating, the new and the old one separated by a comma",
        mend="whsec_ and base64, under Configure > Webhooks > the endpoint",
        matches="whsec_[A-Za-z0-9+/]+=*",
        several=True,
        example="whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
    )
    machine_secret_key: SecretStr | None = setting(
        "CLERK_MACHINE_SECRET_KEY",
        default=None,
        about="Creates and verifies tokens of machines (optional)",
        mend="begins with ak_, under Configure > Machines",
        matches=r"ak_\S+",
    )
    api_base: WebAddress = setting(
        "CLERK_API_BASE",
        default="https://api.clerk.com",
        about="Where Clerk's backend API is",
        mend="https://host; http only for this machine",
    )
    given_jwks_url: WebAddress | None = setting(
        "CLERK_JWKS_URL",
        default=None,
        about="Where the instance's public keys are (default: derived from the publishable key)",
        mend="https://host/path; http only for this machine",
        example="https://clerk.example.com/.well-known/jwks.json",
    )

    @property
    def issuer(self) -> str:
        """What sessions must carry as their issuer."""
        return f"https://{frontend_host(self.publishable_key)}"

    @property
    def jwks_url(self) -> str:
        """Where the instance's public keys are."""
        return self.given_jwks_url or f"{self.issuer}/.well-known/jwks.json"

    @property
    def base_addresses(self) -> tuple[str, ...]:
        return (self.api_base, self.jwks_url)

    def is_sandbox(self) -> bool:
        return self.publishable_key.startswith("pk_test_")

    @classmethod
    def rules(cls, given: Mapping[str, str]) -> Iterator[Problem]:
        """Both keys are of one mode, and live only in production."""
        yield from mode_problems(given, "CLERK_SECRET_KEY", "NEXT_PUBLIC_CLERK_PUBLISHABLE_KEY")
