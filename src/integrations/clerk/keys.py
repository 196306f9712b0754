"""The forms of Clerk's keys, checked without asking Clerk."""

import base64
import hashlib
import re
from collections.abc import Sequence
from urllib.parse import urlsplit

from pydantic import SecretStr

from core.settings import WrongValue, key_modes
from core.settings.addresses import check_web_address


def frontend_host(publishable_key: str) -> str:
    """Return the host a publishable key encodes: base64 of the host and a dollar sign; raises WrongValue."""
    encoded = publishable_key.split("_", 2)[2]
    text = base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True).decode("ascii")
    if not re.fullmatch(r"[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+\$", text):
        raise ValueError("encodes no host")
    return text.removesuffix("$")


def cookie_suffix(publishable_key: str) -> str:
    """Return what Clerk's pages append to the names of an instance's cookies."""
    digest = hashlib.sha1(publishable_key.encode(), usedforsecurity=False).digest()
    return base64.urlsafe_b64encode(digest).decode()[:8]


def check_publishable_key(text: str) -> str:
    """Accept a publishable key that encodes a host; raises WrongValue."""
    key_modes.check_publishable_key(text)
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


def public_key(text: str) -> str:
    """Return a PEM public key, its literal backslash-n made line breaks; raises WrongValue unless it is RSA."""
    # Imported here: 70 ms at every start for a setting few installations have.
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
