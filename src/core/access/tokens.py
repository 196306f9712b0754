"""Development tokens: signed with a key derived from ENCRYPTION_KEYS, and believed outside production only."""

import base64
import binascii
import hashlib
import hmac
import json
import time
from uuid import UUID

from core.access.principal import DEFAULT_TENANT, ActorKind, Principal, Scope
from core.errors import Unauthenticated
from core.words import say

_PREFIX = "iadev_"
_LIFETIME = 30 * 24 * 3600
_MAX_LENGTH = 4096
CLI = "interalpha"
"""The subject of tokens that commands make for themselves."""


class DevelopmentTokens:
    """Makes and reads development tokens; `secret` is any encryption key of this installation."""

    def __init__(self, secret: bytes) -> None:
        self._key = hmac.digest(secret, b"interalpha development token", hashlib.sha256)

    def make(self, *, tenant: UUID = DEFAULT_TENANT, subject: str = "dev", lifetime: int = _LIFETIME) -> str:
        """Make a token for a tenant that holds every scope and lasts `lifetime` seconds: 30 days."""
        claims = {"tenant": str(tenant), "sub": subject, "exp": int(time.time()) + lifetime}
        body = _encode(json.dumps(claims, separators=(",", ":")).encode())
        return f"{_PREFIX}{body}.{self._sign(body)}"

    @staticmethod
    def recognises(token: str) -> bool:
        """Whether a token has the form of one of these, which no other token has."""
        return token.startswith(_PREFIX)

    def read(self, token: str) -> Principal:
        """Say who a token speaks for; raises Unauthenticated."""
        body, _, signature = token.removeprefix(_PREFIX).partition(".")
        is_ours = token.startswith(_PREFIX) and token.isascii() and len(token) <= _MAX_LENGTH
        if not is_ours or not hmac.compare_digest(self._sign(body).encode(), signature.encode()):
            raise Unauthenticated(
                say("TOKEN_UNKNOWN", "The bearer token is not one of this server. Make one with `interalpha token`.")
            )
        try:
            claims = json.loads(_decode(body))
        except (ValueError, binascii.Error) as error:
            raise Unauthenticated(say("TOKEN_UNREADABLE", "The bearer token cannot be read.")) from error
        if claims["exp"] < time.time():
            raise Unauthenticated(
                say("TOKEN_EXPIRED", "The bearer token has expired. Make a new one with `interalpha token`.")
            )
        kind = ActorKind.CLI if claims["sub"] == CLI else ActorKind.DEVELOPMENT
        return Principal(UUID(claims["tenant"]), claims["sub"], frozenset(Scope), claims["exp"], kind=kind)

    def _sign(self, body: str) -> str:
        return _encode(hmac.digest(self._key, body.encode(), hashlib.sha256))


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
