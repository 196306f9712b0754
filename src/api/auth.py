"""From credentials to a principal."""

from collections.abc import Callable, Coroutine
from functools import partial

import structlog

from api.bootstrap import House
from api.credentials import CookieToken
from api.metrics import refused_keys, refused_sessions
from core.access.key_format import looks_like_key
from core.access.key_ring import KeyRefused
from core.access.principal import Principal
from core.access.sessions import Sessions
from core.access.tokens import DevelopmentTokens
from core.errors import Unauthenticated
from core.ports import InvalidToken
from core.words import say

log = structlog.get_logger(__name__)


class Authenticator:
    """Knows the credentials this installation accepts: API keys, sessions, development tokens outside production."""

    def __init__(self, house: House) -> None:
        self._keys = house.services.key_ring
        self._tokens = house.tokens
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
            return self._tokens.read(token)
        if self._sessions is None:
            raise Unauthenticated(
                say(
                    "NO_CREDENTIALS_ACCEPTED",
                    "This server believes API keys alone: development tokens end where production begins, "
                    "and Clerk is not configured.",
                )
            )
        return await self._believe(self._sessions, token)

    def until_refused(self, caller: Principal | None) -> Callable[[], Coroutine[None, None, None]] | None:
        """What waits until a caller's credentials are believed no more; None for those believed to their end."""
        return None if caller is None or caller.api_key is None else partial(self._keys.until_refused, caller)

    async def _admit(self, key: str) -> Principal:
        try:
            return await self._keys.authenticate(key)
        except KeyRefused as error:
            # Of the key no more than the name in it, which lets nobody in.
            log.info("key_refused", reason=error.reason.value, key=error.name)
            refused_keys.labels(error.reason.value).inc()
            raise

    async def _believe(self, sessions: Sessions, token: str) -> Principal:
        try:
            return await sessions.authenticate(token, needs_party=isinstance(token, CookieToken))
        except InvalidToken as error:
            # The reason and nothing of the token: whoever reads logs must not be able to come in.
            log.info("session_refused", reason=error.reason.value)
            refused_sessions.labels(error.reason.value).inc()
            raise
