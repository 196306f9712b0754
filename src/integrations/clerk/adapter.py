"""Clerk's sessions, verified without a call to Clerk.

https://clerk.com/docs/guides/sessions/manual-jwt-verification
"""

import time
from collections.abc import Callable, Sequence

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from core.ports import Identity, TokenFault
from core.ports.identity import Scope
from integrations.clerk.jwks import KeySet
from integrations.clerk.session_tokens import TokenRules, check_form, decode, identity_of, invalid_token
from integrations.clerk.settings import Settings, cookie_suffix


class ClerkSessions:
    """Verifies tokens with the configured public key, or with those the instance publishes."""

    def __init__(self, settings: Settings, keys: KeySet, now: Callable[[], float] = time.time) -> None:
        self._configured_key = _configured_key(settings)
        self._keys = keys
        self._now = now
        # Where several instances share a domain, the plain name may hold the cookie of another.
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
        key_id = check_form(token)
        key = self._configured_key or await self._keys.find(key_id)
        if key is None:
            raise invalid_token(TokenFault.UNKNOWN_KEY)
        return identity_of(decode(token, key), self._rules, self._now(), needs_party=needs_party)

    def scopes_of_role(self, role: str) -> frozenset[Scope]:
        return self._rules.roles.get(role, frozenset())


def _configured_key(settings: Settings) -> RSAPublicKey | None:
    if settings.jwt_key is None:
        return None
    key = load_pem_public_key(settings.jwt_key.encode())
    assert isinstance(key, RSAPublicKey)  # noqa: S101  # checked by the settings
    return key
