"""From credentials to a principal."""

import structlog

from api.bootstrap import House
from api.credentials import CookieToken
from api.metrics import refused_keys, refused_sessions
from core.access.api_key_format import looks_like_key
from core.access.api_key_lookup import KeyRefused
from core.access.development_tokens import DevelopmentTokens
from core.access.sessions import Sessions, Tenants, tenant_unknown
from core.errors import Overloaded, Unauthenticated
from core.ports import InvalidToken
from core.ports.principal import Principal
from core.words import say

log = structlog.get_logger(__name__)


class Authenticator:
    """Knows the credentials this installation accepts: API keys, sessions, development tokens outside production."""

    def __init__(self, house: House) -> None:
        self._keys = house.services.key_ring
        self._tokens = house.tokens
        self._tenants = Tenants(house.database)
        self._sessions = Sessions(house.database, house.identities) if house.identities is not None else None

    async def __call__(self, token: str | None) -> Principal | None:
        """Say who a token speaks for, nobody for no token.

        Raises Unauthenticated for one nobody here believes, and Overloaded where that cannot be told at the moment.
        """
        if token is None:
            return None
        # A key is some program's: one in a cookie was put there by somebody else.
        if looks_like_key(token) and not isinstance(token, CookieToken):
            return await self._admit(token)
        if self._tokens is not None and (self._sessions is None or DevelopmentTokens.recognises(token)):
            return await self._develop(self._tokens, token)
        if self._sessions is None:
            raise Unauthenticated(
                say(
                    "NO_CREDENTIALS_ACCEPTED",
                    "This server believes API keys alone: development tokens end where production begins, "
                    "and Clerk is not configured.",
                )
            )
        return await self._believe(self._sessions, token)

    async def is_believed(self, caller: Principal | None) -> bool:
        """Whether the credentials of an earlier call would let the same caller in now.

        Who was let in is not turned out because our books cannot be read.
        """
        if caller is None:
            return True
        try:
            if caller.api_key is not None:
                return await self._keys.is_believed(caller)
            if caller.session is not None and self._sessions is not None:
                return await self._sessions.is_believed(caller)
            return await self._tenants.has(caller.tenant_id)
        except Overloaded:
            return True

    async def _admit(self, key: str) -> Principal:
        try:
            return await self._keys.authenticate(key)
        except KeyRefused as error:
            # Of the key no more than the name in it, which lets nobody in.
            log.info("key_refused", reason=error.reason.value, key=error.name)
            refused_keys.labels(error.reason.value).inc()
            raise

    async def _develop(self, tokens: DevelopmentTokens, token: str) -> Principal:
        caller = tokens.read(token)
        # Without our books the signature has to do: whatever else is asked of them says by itself that they are away.
        if not await self.is_believed(caller):
            raise tenant_unknown()
        return caller

    async def _believe(self, sessions: Sessions, token: str) -> Principal:
        try:
            return await sessions.authenticate(token, needs_party=isinstance(token, CookieToken))
        except InvalidToken as error:
            # The reason and nothing of the token: whoever reads logs must not be able to come in.
            log.info("session_refused", reason=error.reason.value)
            refused_sessions.labels(error.reason.value).inc()
            raise
