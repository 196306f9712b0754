"""Issues session tokens as Clerk does, and publishes the keys that verify them.

https://clerk.com/docs/guides/sessions/session-tokens
"""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from secrets import token_hex
from typing import Any

from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256

from integrations.clerk.simulator.state import Session, State

CATEGORY = "cl_B7d4PD111AAA"
Json = dict[str, Any]


@dataclass(slots=True)
class TokenIssuer:
    """The instance's keys by id, the newest last; the first is made when first needed, since making one takes time."""

    _keys: dict[str, RSAPrivateKey] = field(default_factory=dict, repr=False)

    def rotate(self, *, withdraw: bool = False) -> str:
        """Make a new key and give its id."""
        if withdraw:
            self._keys.clear()
        name = f"ins_{token_hex(8)}"
        self._keys[name] = generate_private_key(public_exponent=65_537, key_size=2_048)
        return name

    def sign(self, claims: Mapping[str, Any], header: Mapping[str, Any] | None = None) -> str:
        """Make a token; `header` adds to the usual one."""
        name = self._newest()
        head = {"alg": "RS256", "cat": CATEGORY, "kid": name, "typ": "JWT", **(header or {})}
        signed = f"{encode_part(head)}.{encode_part(claims)}"
        return f"{signed}.{_base64(self._keys[name].sign(signed.encode(), PKCS1v15(), SHA256()))}"

    def published(self) -> Json:
        """The set of keys, as the well-known address gives it."""
        self._newest()
        return {"keys": [_published(name, key) for name, key in self._keys.items()]}

    def _newest(self) -> str:
        return list(self._keys)[-1] if self._keys else self.rotate()


def claims_of(records: State, session: Session, issuer: str, now: datetime, lifetime: int) -> Json:
    """What the token of a session says."""
    issued = int(now.timestamp())
    claims: Json = {
        "exp": issued + lifetime,
        "fva": [0, -1],
        "iat": issued,
        "iss": issuer,
        "jti": token_hex(10),
        "nbf": issued - 10,
        "sid": session.id,
        "sts": session.status,
        "sub": session.user_id,
        "v": 2,
    }
    if session.origin is not None:
        claims["azp"] = session.origin
    member = records.member(session.user_id, session.organization_id) if session.organization_id else None
    if member is not None:
        organization = records.organization(member.organization_id)
        role = member.role.removeprefix("org:")
        claims["o"] = {"id": organization.id, "rol": role, "slg": organization.slug}
        _pack(claims, member.permissions)
    return claims


def _pack(claims: Json, permissions: Sequence[str]) -> None:
    """Write permissions as features, names, and one number of bits for each feature."""
    granted = [one.split(":")[1:] for one in permissions]
    if not granted:
        return
    features, names = sorted({one[0] for one in granted}), sorted({one[1] for one in granted})
    masks = [sum(1 << bit for bit, name in enumerate(names) if [feature, name] in granted) for feature in features]
    claims["fea"] = ",".join(f"o:{feature}" for feature in features)
    claims["o"] |= {"per": ",".join(names), "fpm": ",".join(map(str, masks))}


def encode_part(value: Mapping[str, Any]) -> str:
    """A part of a token."""
    return _base64(json.dumps(value, separators=(",", ":")).encode())


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _published(name: str, key: RSAPrivateKey) -> Json:
    numbers = key.public_key().public_numbers()
    sizes = {"e": numbers.e, "n": numbers.n}
    written = {part: _base64(value.to_bytes((value.bit_length() + 7) // 8, "big")) for part, value in sizes.items()}
    return {"use": "sig", "kty": "RSA", "kid": name, "alg": "RS256", **written}
