"""From credentials to a principal."""

import structlog

from api.bootstrap import House
from api.credentials import CookieToken
from api.metrics import refused_sessions
from core.access.principal import Principal
from core.access.sessions import Sessions
from core.access.tokens import DevelopmentTokens
from core.errors import Unauthenticated
from core.ports import InvalidToken
from core.words import say

log = structlog.get_logger(__name__)


class Authenticator:
    """Knows the credentials this installation accepts: development tokens outside production, and sessions."""

    def __init__(self, house: House) -> None:
        self._tokens = house.tokens
        self._sessions = Sessions(house.database, house.identities) if house.identities is not None else None

    async def __call__(self, token: str | None) -> Principal | None:
        """Say who a token speaks for, nobody for no token.

        Raises Unauthenticated for one nobody here believes, and Overloaded where that cannot be told at the moment.
        """
        if token is None:
            return None
        if self._tokens is not None and (self._sessions is None or DevelopmentTokens.recognises(token)):
            return self._tokens.read(token)
        if self._sessions is None:
            raise Unauthenticated(
                say(
                    "NO_CREDENTIALS_ACCEPTED",
                    "This server accepts no credentials yet: development tokens end where production begins, "
                    "and Clerk is not configured.",
                )
            )
        return await self._believe(self._sessions, token)

    async def _believe(self, sessions: Sessions, token: str) -> Principal:
        try:
            return await sessions.authenticate(token, needs_party=isinstance(token, CookieToken))
        except InvalidToken as error:
            # The reason and nothing of the token: whoever reads logs must not be able to come in.
            log.info("session_refused", reason=error.reason.value)
            refused_sessions.labels(error.reason.value).inc()
            raise
