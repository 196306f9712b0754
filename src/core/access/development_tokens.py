"""Development tokens: signed with a key derived from ENCRYPTION_KEYS, and accepted outside production only."""

import base64
import hashlib
import hmac
import json
import time
from typing import Any
from uuid import UUID

from core.characters import refused_on_line
from core.errors import Unauthenticated
from core.ports.principal import DEFAULT_TENANT, ActorKind, Principal, Scope
from core.words import say

_PREFIX = "iadev_"
LIFETIME = 30 * 24 * 3600
"""Seconds a token lasts, unless the setting DEVELOPMENT_TOKEN_DAYS says otherwise."""
_MAX_LENGTH = 4096
_LONGEST_SUBJECT = 200
_LEEWAY = 60
CLI = "interalpha"
"""The subject of tokens that commands make for their own calls."""


class DevelopmentTokens:
    """Makes and reads development tokens; `secret` is any encryption key of this installation.

    `lifetime` is how many seconds a token lasts; one that would last longer from now is refused.
    """

    def __init__(self, secret: bytes, *, lifetime: int = LIFETIME) -> None:
        self._key = hmac.digest(secret, b"interalpha development token", hashlib.sha256)
        self._lifetime = lifetime

    def make(self, *, tenant: UUID = DEFAULT_TENANT, subject: str = "dev", lifetime: int | None = None) -> str:
        """Make a token for a tenant that holds every scope and lasts `lifetime` seconds: 30 days."""
        now = int(time.time())
        ends = now + (self._lifetime if lifetime is None else lifetime)
        claims = {"tenant": str(tenant), "sub": subject, "iat": now, "exp": ends}
        body = _encode(json.dumps(claims, separators=(",", ":")).encode())
        return f"{_PREFIX}{body}.{self._sign(body)}"

    @staticmethod
    def recognises(token: str) -> bool:
        """Whether a token has the form of one of these, which no other token has."""
        return token.startswith(_PREFIX)

    def read(self, token: str) -> Principal:
        """The principal of a token; raises Unauthenticated."""
        body, _, signature = token.removeprefix(_PREFIX).partition(".")
        is_ours = token.startswith(_PREFIX) and token.isascii() and len(token) <= _MAX_LENGTH
        if not is_ours or not hmac.compare_digest(self._sign(body).encode(), signature.encode()):
            raise Unauthenticated(
                say("TOKEN_UNKNOWN", "This server did not issue this token. Create one with `interalpha token`.")
            )
        claims, now = _claims(body), time.time()
        tenant, subject, ends = UUID(claims["tenant"]), claims["sub"], claims["exp"]
        if ends < now:
            raise Unauthenticated(
                say("TOKEN_EXPIRED", "The bearer token has expired. Make a new one with `interalpha token`.")
            )
        if ends > now + self._lifetime + _LEEWAY or claims.get("iat", 0) > now + _LEEWAY:
            raise Unauthenticated(
                say(
                    "TOKEN_LASTS_TOO_LONG",
                    "The bearer token is valid for longer than DEVELOPMENT_TOKEN_DAYS allows. Make a new one with "
                    "`interalpha token`.",
                )
            )
        kind = ActorKind.CLI if subject == CLI else ActorKind.DEVELOPMENT
        return Principal(tenant, subject, frozenset(Scope), ends, kind=kind)

    def _sign(self, body: str) -> str:
        return _encode(hmac.digest(self._key, body.encode(), hashlib.sha256))


def _claims(body: str) -> dict[str, Any]:
    """Read a token's claims; raises Unauthenticated where one is missing or has a wrong form."""
    unreadable = Unauthenticated(say("TOKEN_UNREADABLE", "The bearer token cannot be read."))
    try:
        claims = json.loads(_decode(body))
        tenant, subject, ends, issued = claims["tenant"], claims["sub"], claims["exp"], claims.get("iat", 0)
        UUID(tenant)
        is_sound = 0 < len(subject.encode()) <= _LONGEST_SUBJECT and refused_on_line(subject) is None
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise unreadable from error
    if not is_sound or type(ends) is not int or type(issued) is not int or issued < 0:
        raise unreadable
    return dict(claims)


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
