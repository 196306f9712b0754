"""Believing Clerk's sessions, without asking Clerk about any of them.

https://clerk.com/docs/guides/sessions/manual-jwt-verification
"""

import time
from collections.abc import Callable, Sequence

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from core.access.principal import Scope
from core.ports import Identity, TokenFault
from integrations.clerk.claims import Rules, read_claims
from integrations.clerk.jwks import KeySet
from integrations.clerk.keys import cookie_suffix
from integrations.clerk.refusals import refusal
from integrations.clerk.settings import Settings
from integrations.clerk.token import take_apart


class ClerkSessions:
    """Verifies tokens with the configured public key, or with those the instance publishes."""

    def __init__(self, settings: Settings, keys: KeySet, now: Callable[[], float] = time.time) -> None:
        self._own_key = _own_key(settings)
        self._keys = keys
        self._now = now
        # With several instances under one domain, the plain name may hold another's.
        self._cookies = (f"__session_{cookie_suffix(settings.publishable_key)}", "__session")
        self._rules = Rules(
            issuer=settings.issuer,
            parties=frozenset(settings.authorized_parties) or None,
            leeway=settings.clock_leeway,
            lifetime=settings.token_lifetime,
            personal=settings.tenancy,
            roles=settings.role_scopes,
        )

    @property
    def cookies(self) -> Sequence[str]:
        return self._cookies

    async def verify(self, token: str, *, needs_party: bool = False) -> Identity:
        taken = take_apart(token)
        key = self._own_key or await self._keys.find(taken.key_id)
        if key is None:
            raise refusal(TokenFault.UNKNOWN_KEY)
        try:
            key.verify(taken.signature, taken.signed, PKCS1v15(), SHA256())
        except InvalidSignature:
            raise refusal(TokenFault.SIGNATURE) from None
        return read_claims(taken.claims, self._rules, self._now(), needs_party=needs_party)

    def scopes_of_role(self, role: str) -> frozenset[Scope]:
        return self._rules.roles.get(role, frozenset())


def _own_key(settings: Settings) -> RSAPublicKey | None:
    if settings.jwt_key is None:
        return None
    key = load_pem_public_key(settings.jwt_key.encode())
    assert isinstance(key, RSAPublicKey)  # noqa: S101  # the settings looked
    return key
