"""Tokens as Clerk makes them, and as forgers do: PyJWT signs, the rest is written letter by letter."""

import base64
import json
import time
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from integrations.clerk.session_tokens import SESSION_CATEGORY

ISSUER = "https://clerk.example.com"
PAGE = "https://app.example.com"
KEY = generate_private_key(public_exponent=65_537, key_size=2_048)
STRANGERS_KEY = generate_private_key(public_exponent=65_537, key_size=2_048)
PUBLIC_PEM = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
_GONE = object()
GONE: Any = _GONE
"""Takes a claim or a field of the header away."""


def claims(**changes: Any) -> dict[str, Any]:
    """What a session of Ana's says, but for the changes."""
    now = int(time.time())
    usual = {
        "azp": PAGE,
        "exp": now + 60,
        "fva": [3, -1],
        "iat": now,
        "iss": ISSUER,
        "jti": "0f3c9a",
        "nbf": now - 10,
        "o": {"id": "org_2abcACME", "slg": "acme", "rol": "admin"},
        "sid": "sess_2abc",
        "sts": "active",
        "sub": "user_2abcUSER0001",
        "v": 2,
    }
    return {name: value for name, value in {**usual, **changes}.items() if value is not _GONE}


def header(**changes: Any) -> dict[str, Any]:
    """The header of a session's token, but for the changes."""
    usual = {"alg": "RS256", "cat": SESSION_CATEGORY, "kid": "ins_ours", "typ": "JWT"}
    return {name: value for name, value in {**usual, **changes}.items() if value is not _GONE}


def token(
    claims_: dict[str, Any] | None = None, header_: dict[str, Any] | None = None, key: RSAPrivateKey = KEY
) -> str:
    """A token signed by somebody else's library, whatever it says."""
    return signed(written(header() if header_ is None else header_), written(claims_ or claims()), key)


def signed(head: str, body: str, key: RSAPrivateKey = KEY) -> str:
    """Two parts, and a signature that fits them as they are."""
    return f"{head}.{body}.{b64(jwt.get_algorithm_by_name('RS256').sign(f'{head}.{body}'.encode(), key))}"


def written(value: object) -> str:
    return b64(json.dumps(value).encode())


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def private_pem(key: RSAPrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
