"""A service account's key file, as an environment variable can hold it: its JSON, or base64 of it."""

import base64
import json
from dataclasses import dataclass

from pydantic import SecretStr

from core.settings import WrongValue

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
