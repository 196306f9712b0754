"""Clerk's settings, as its dashboard shows them; the form of each key is checked without a call to Clerk.

https://clerk.com/docs/deployments/clerk-environment-variables
"""

import base64
import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr

from core.ports import Tenancy
from core.settings import IntegrationSettings, Problem, WrongValue, describe, setting, values
from core.settings.addresses import WebAddress, check_web_address, is_loopback
from core.settings.values import mode_problems
from integrations.clerk.session_tokens import DEFAULT, RoleScopes, read_role_scopes


def frontend_host(publishable_key: str) -> str:
    """Return the host that a publishable key encodes: base64 of the host and a dollar sign; raises ValueError."""
    encoded = publishable_key.split("_", 2)[2]
    text = base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True).decode("ascii")
    if not re.fullmatch(r"[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+\$", text):
        raise ValueError("encodes no host")
    return text.removesuffix("$")


def cookie_suffix(publishable_key: str) -> str:
    """Return what Clerk appends to the names of an instance's cookies."""
    digest = hashlib.sha1(publishable_key.encode(), usedforsecurity=False).digest()
    return base64.urlsafe_b64encode(digest).decode()[:8]


def check_publishable_key(text: str) -> str:
    """Accept a publishable key that encodes a host; raises WrongValue."""
    values.check_publishable_key(text)
    try:
        frontend_host(text)
    except ValueError:
        raise WrongValue("is cut short or altered: copy it again, under Configure > API keys") from None
    return text


def check_origin(text: str) -> str:
    """Accept the origin of a page as browsers write it; raises WrongValue."""
    address = check_web_address(text)
    if urlsplit(address).path or address != address.lower():
        raise WrongValue("is not an origin: write it like https://app.example.com, in small letters and without a path")
    return address


def check_webhook_secrets(secrets: Sequence[SecretStr]) -> Sequence[SecretStr]:
    """Accept secrets whose part after whsec_ is base64, as it is decoded to make the key; raises WrongValue."""
    for secret in secrets:
        try:
            base64.b64decode(secret.get_secret_value().removeprefix("whsec_"), validate=True)
        except ValueError:
            raise WrongValue("is cut short or altered: copy it again, under Configure > Webhooks") from None
    return secrets


def check_public_key(text: str) -> str:
    """Return a PEM public key, with line breaks for literal backslash-n; raises WrongValue unless it is RSA."""
    # Imported here: it costs 70 ms at start, for a setting that few installations have.
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    pem = text.replace("\\n", "\n")
    try:
        key = load_pem_public_key(pem.encode())
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, RSAPublicKey) or key.key_size < 2048:
        raise WrongValue(
            "is not a PEM public key of RSA, 2048 bits or more: copy it again, with its BEGIN and END lines"
        )
    return pem


class PersonalTenant(StrEnum):
    """Whose data a session without an organisation is about."""

    DEFAULT = "default"
    OWN = "own"
    REFUSE = "refuse"


# The defaults suit one's own machine; in production they would admit strangers.
_CHOSEN_IN_PRODUCTION = ("CLERK_AUTHORIZED_PARTIES", "CLERK_PERSONAL_TENANT")
_TENANCIES: Mapping[PersonalTenant, Tenancy | None] = {
    PersonalTenant.DEFAULT: Tenancy.DEFAULT,
    PersonalTenant.OWN: Tenancy.OWN,
    PersonalTenant.REFUSE: None,
}


class Settings(IntegrationSettings):
    """The keys of an instance, all of one mode, what its sessions are verified with, and what signs its webhooks."""

    secret_key: SecretStr = setting(
        "CLERK_SECRET_KEY",
        about="Signs in to the backend API",
        fix="begins with sk_test_ or sk_live_, under Configure > API keys",
        matches="sk_(test|live)_[A-Za-z0-9]{20,}",
        example="sk_test_00000000000000000000dummy",
    )
    publishable_key: Annotated[str, AfterValidator(check_publishable_key)] = setting(
        "NEXT_PUBLIC_CLERK_PUBLISHABLE_KEY",
        "CLERK_PUBLISHABLE_KEY",
        about="The key browsers sign in with; it names the issuer of sessions",
        fix="begins with pk_test_ or pk_live_, under Configure > API keys",
        example="pk_test_Y2xlcmsuZXhhbXBsZS5jb20k",
    )
    jwt_key: Annotated[str, BeforeValidator(check_public_key)] | None = setting(
        "CLERK_JWT_KEY",
        default=None,
        about="The public key sessions are verified with (default: fetched from CLERK_JWKS_URL)",
        fix="a PEM public key (-----BEGIN PUBLIC KEY-----), RSA, under Configure > API keys > JWKS public key",
    )
    webhook_secrets: Annotated[tuple[SecretStr, ...], AfterValidator(check_webhook_secrets)] = setting(
        "CLERK_WEBHOOK_SIGNING_SECRET",
        about="Signs webhooks; while rotating, the new and the old one separated by a comma",
        fix="whsec_ and base64, under Configure > Webhooks > the endpoint",
        matches="whsec_[A-Za-z0-9+/]+=*",
        several=True,
        example="whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
    )
    authorized_parties: tuple[Annotated[str, AfterValidator(check_origin)], ...] = setting(
        "CLERK_AUTHORIZED_PARTIES",
        default=(),
        about="The origins of the pages whose sessions may call (required in production; default elsewhere: any)",
        fix="https://host, several separated by commas",
        several=True,
        example="https://app.example.com",
    )
    personal_tenant: Annotated[PersonalTenant, BeforeValidator(str.lower)] = setting(
        "CLERK_PERSONAL_TENANT",
        default=PersonalTenant.DEFAULT,
        about="What a session without an organisation is about: the one business here, a tenant of the person's own, "
        "or nothing (required in production)",
        fix="default, own or refuse",
    )
    given_role_scopes: Annotated[RoleScopes, BeforeValidator(read_role_scopes)] | None = setting(
        "CLERK_ROLE_SCOPES",
        default=None,
        about="What each role and permission gives, as JSON; * is everything, personal a session without organisation "
        "(default: org:admin and personal everything, org:member MESSAGES_READ and MESSAGES_SEND)",
        fix='{"org:admin": ["*"], "org:member": ["MESSAGES_READ", "MESSAGES_SEND"], "personal": []}',
    )
    clock_leeway: Annotated[float, Field(ge=0, le=60)] = setting(
        "CLERK_CLOCK_LEEWAY",
        default=5.0,
        about="Seconds by which our clock and Clerk's may differ",
        fix="seconds, from 0 to 60",
    )
    token_lifetime: Annotated[float, Field(ge=60, le=86_400)] = setting(
        "CLERK_TOKEN_LIFETIME",
        default=3_600.0,
        about="The longest lifetime of a session token, in seconds; longer ones are refused (Clerk's own: 60)",
        fix="seconds, from 60 to 86400",
    )
    machine_secret_key: SecretStr | None = setting(
        "CLERK_MACHINE_SECRET_KEY",
        default=None,
        about="Creates and verifies tokens of machines (optional)",
        fix="begins with ak_, under Configure > Machines",
        matches=r"ak_\S+",
    )
    api_base: WebAddress = setting(
        "CLERK_API_BASE",
        default="https://api.clerk.com",
        about="Where Clerk's backend API is",
        fix="https://host; http only for this machine",
    )
    given_jwks_url: WebAddress | None = setting(
        "CLERK_JWKS_URL",
        default=None,
        about="Where the instance's public keys are (default: derived from the publishable key)",
        fix="https://host/path; http only for this machine",
        example="https://clerk.example.com/.well-known/jwks.json",
    )

    @property
    def issuer(self) -> str:
        """What sessions must carry as their issuer."""
        return f"https://{frontend_host(self.publishable_key)}"

    @property
    def jwks_url(self) -> str:
        """Where the instance's public keys are."""
        # A simulated Clerk publishes its keys beside its API; what the publishable key encodes is nowhere.
        base = self.api_base if is_loopback(self.api_base) else self.issuer
        return self.given_jwks_url or f"{base}/.well-known/jwks.json"

    @property
    def role_scopes(self) -> RoleScopes:
        """What each role may do."""
        return DEFAULT if self.given_role_scopes is None else self.given_role_scopes

    @property
    def tenancy(self) -> Tenancy | None:
        """Whose data a session without an organisation is about; None refuses it."""
        return _TENANCIES[self.personal_tenant]

    @property
    def base_addresses(self) -> tuple[str, ...]:
        return (self.api_base, self.jwks_url)

    def is_sandbox(self) -> bool:
        return self.publishable_key.startswith("pk_test_")

    @classmethod
    def rules(cls, given: Mapping[str, str]) -> Iterator[Problem]:
        """Both keys are of one mode, and live only in production; there, who may come in is said by name."""
        yield from mode_problems(given, "CLERK_SECRET_KEY", "NEXT_PUBLIC_CLERK_PUBLISHABLE_KEY")
        if given["APP_ENV"] == "production":
            for variable in describe(cls):
                if variable.name in _CHOSEN_IN_PRODUCTION and variable.name not in given:
                    yield Problem(variable.name, f"is missing: {variable.fix}", missing=True)
