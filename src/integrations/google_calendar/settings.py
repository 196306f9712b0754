"""Google Calendar's settings: a service account's key file as JSON or base64."""

import base64
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated

from pydantic import BeforeValidator, SecretStr

from core.settings import IntegrationSettings, Problem, WrongValue, setting
from core.settings.addresses import WebAddress
from core.settings.values import together

_NEEDED = ("client_email", "private_key", "token_uri")


@dataclass(frozen=True, slots=True)
class ServiceAccount:
    """What signs an assertion; the token's address is the setting GOOGLE_TOKEN_URL, never the file's own."""

    client_email: str
    private_key: SecretStr
    private_key_id: str | None


def parse_service_account(text: object) -> object:
    """Read the key file's text; raises WrongValue saying what is wrong with it, without quoting it."""
    if not isinstance(text, str):
        return text
    fields = _read_json(text)
    if fields.get("type") != "service_account":
        raise WrongValue('is the JSON of something else: its "type" must be service_account')
    missing = [name for name in _NEEDED if not (isinstance(fields.get(name), str) and fields[name])]
    if missing:
        raise WrongValue(f"lacks {' and '.join(missing)}: download the key file again")
    pem = str(fields["private_key"]).replace("\\n", "\n")
    _check_pem(pem)
    key_id = fields.get("private_key_id")
    return ServiceAccount(str(fields["client_email"]), SecretStr(pem), str(key_id) if key_id else None)


def _read_json(text: str) -> dict[str, object]:
    try:
        plain = text if text.startswith("{") else base64.b64decode(text, validate=True).decode()
        # Not strict: an .env file's double quotes turn \n inside the key into real line breaks.
        fields = json.loads(plain, strict=False)
    except ValueError:
        fields = None
    if not isinstance(fields, dict):
        raise WrongValue("is neither JSON nor base64 of it: encode the key file with base64 -w0 key.json")
    return fields


def _check_pem(pem: str) -> None:
    # Imported here: 70 ms at every start for a setting few installations have.
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(pem.encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, RSAPrivateKey):
        raise WrongValue("holds a private_key that cannot be read: download the key file again")


# Settings, as Google's console shows them. https://developers.google.com/identity/protocols/oauth2


_OAUTH = ("GOOGLE_CLIENT_ID", "GOOGLE_CLIENT_SECRET", "GOOGLE_REFRESH_TOKEN")


class Settings(IntegrationSettings):
    """A service account, or a person's consent (the three of OAuth), and the calendar to write to."""

    service_account: Annotated[ServiceAccount, BeforeValidator(parse_service_account)] | None = setting(
        "GOOGLE_SERVICE_ACCOUNT_JSON",
        default=None,
        about="A service account's key file; this or the three OAuth values are needed",
        fix="the JSON file's text or its base64 (base64 -w0 key.json), from IAM > Service accounts > Keys",
    )
    delegated_user: str | None = setting(
        "GOOGLE_DELEGATED_USER",
        default=None,
        about="Whom the service account acts for, with domain-wide delegation (optional)",
        fix="an e-mail address",
        matches=r"[^@\s]+@[^@\s]+",
        example="agenda@example.com",
    )
    client_id: str | None = setting(
        "GOOGLE_CLIENT_ID",
        default=None,
        about="The OAuth client",
        fix="ends with .apps.googleusercontent.com, under APIs & Services > Credentials",
        matches=r"[A-Za-z0-9._-]+\.apps\.googleusercontent\.com",
        example="dummy.apps.googleusercontent.com",
    )
    client_secret: SecretStr | None = setting(
        "GOOGLE_CLIENT_SECRET",
        default=None,
        about="The OAuth client's secret",
        fix="one word, under APIs & Services > Credentials",
        matches=r"\S+",
        example="dummy-client-secret",
    )
    refresh_token: SecretStr | None = setting(
        "GOOGLE_REFRESH_TOKEN",
        default=None,
        about="The consent of the calendar's owner",
        fix="one word, from the consent screen's answer (access_type=offline)",
        matches=r"\S+",
        example="dummy-refresh-token",
    )
    calendar_id: str = setting(
        "GOOGLE_CALENDAR_ID",
        default="primary",
        about="The calendar that is written to",
        fix="primary, or the address-like id under the calendar's settings",
        matches=r"primary|[^@\s]+@[^@\s]+",
    )
    api_base: WebAddress = setting(
        "GOOGLE_API_BASE",
        default="https://www.googleapis.com",
        about="Where Google's APIs are",
        fix="https://host; http only for this machine",
    )
    token_url: WebAddress = setting(
        "GOOGLE_TOKEN_URL",
        default="https://oauth2.googleapis.com/token",
        about="Where access tokens are got",
        fix="https://host/path; http only for this machine",
    )

    @property
    def base_addresses(self) -> tuple[str, ...]:
        return (self.api_base, self.token_url)

    @classmethod
    def rules(cls, given: Mapping[str, str]) -> Iterator[Problem]:
        """One way to sign in, whole; delegation is a service account's."""
        account = "GOOGLE_SERVICE_ACCOUNT_JSON"
        yield from together(given, *_OAUTH)
        oauth = next((name for name in _OAUTH if name in given), None)
        if account in given and oauth:
            yield Problem(
                account, f"is set, and so is {oauth}: keep one way to sign in, the file or the three of OAuth"
            )
        if account not in given and not oauth:
            yield Problem(account, f"is missing: set it, or {', '.join(_OAUTH)}, to sign in", missing=True)
        if "GOOGLE_DELEGATED_USER" in given and oauth:
            yield Problem("GOOGLE_DELEGATED_USER", "is only for a service account: remove it, OAuth acts for its owner")
