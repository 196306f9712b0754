"""Verifies Clerk's session tokens offline, without a call to Clerk for each token.

https://clerk.com/docs/guides/sessions/manual-jwt-verification
"""

import time
from collections.abc import Callable, Sequence

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from core.ports import Identity, TokenFault
from core.ports.principal import Scope
from integrations.clerk.jwks import KeySet
from integrations.clerk.session_tokens import TokenRules, identity_of, invalid_token, parse_token
from integrations.clerk.settings import Settings, cookie_suffix


class ClerkSessions:
    """Verifies tokens with the configured public key, or with those the instance publishes."""

    def __init__(self, settings: Settings, keys: KeySet, now: Callable[[], float] = time.time) -> None:
        self._own_key = _own_key(settings)
        self._keys = keys
        self._now = now
        # With several instances under one domain, the plain name may hold another's.
        self._cookies = (f"__session_{cookie_suffix(settings.publishable_key)}", "__session")
        self._rules = TokenRules(
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
        taken = parse_token(token)
        key = self._own_key or await self._keys.find(taken.key_id)
        if key is None:
            raise invalid_token(TokenFault.UNKNOWN_KEY)
        try:
            key.verify(taken.signature, taken.signed, PKCS1v15(), SHA256())
        except InvalidSignature:
            raise invalid_token(TokenFault.SIGNATURE) from None
        return identity_of(taken.claims, self._rules, self._now(), needs_party=needs_party)

    def scopes_of_role(self, role: str) -> frozenset[Scope]:
        return self._rules.roles.get(role, frozenset())


def _own_key(settings: Settings) -> RSAPublicKey | None:
    if settings.jwt_key is None:
        return None
    key = load_pem_public_key(settings.jwt_key.encode())
    assert isinstance(key, RSAPublicKey)  # noqa: S101  # the settings looked
    return key
