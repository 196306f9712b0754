"""From a request's credentials to a principal."""

import re
from collections.abc import Mapping, Sequence

import structlog

from api.bootstrap import App
from api.http.metrics import refused_keys, refused_sessions
from core.access.api_key_format import looks_like_key
from core.access.api_key_lookup import KeyRefused
from core.access.development_tokens import DevelopmentTokens
from core.access.sessions import Sessions
from core.access.tenants import Tenants, tenant_unknown
from core.errors import Overloaded, Unauthenticated
from core.ports import InvalidToken
from core.ports.principal import Principal
from core.words import say


class CookieToken(str):
    """A token nobody meant to send: whatever page made the browser ask, it came along."""

    __slots__ = ()


def token_of(headers: Mapping[str, str], cookies: Sequence[str]) -> str | None:
    """Take the token of a request, the header's before a cookie's; `cookies` are the names to look for, best first.

    Raises Unauthenticated for a header of another kind.
    """
    if token := bearer_token(headers.get("authorization")):
        return token
    if not cookies or not _may_use_cookies(headers.get("origin"), headers.get("sec-fetch-site")):
        return None
    sent = _parse_cookies(headers.get("cookie", ""))
    return next((CookieToken(sent[name]) for name in cookies if sent.get(name)), None)


def _may_use_cookies(origin: str | None, fetch_site: str | None) -> bool:
    """Whether a page of the same site asks, as browsers say themselves; without a word only what no page can send."""
    if fetch_site is not None:
        return fetch_site in ("same-origin", "same-site")
    return origin is None


def _parse_cookies(header: str) -> dict[str, str]:
    """Read a Cookie header; one broken pair spoils no other, and of a name that comes twice the first counts."""
    found: dict[str, str] = {}
    for pair in header.split(";"):
        name, equals, value = pair.strip().partition("=")
        if equals:
            found.setdefault(name, value)
    return found


# From credentials to a principal.


log = structlog.get_logger(__name__)


class Authenticator:
    """Knows the credentials this installation accepts: API keys, sessions, development tokens outside production."""

    def __init__(self, house: App) -> None:
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
                    (
                        "This server accepts only API keys: development tokens are not valid in production, and "
                        "Clerk is not configured."
                    ),
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


_BEARER = re.compile(r"bearer +(\S+) *", re.IGNORECASE)


def bearer_token(authorization: str | None) -> str | None:
    """Read the token of an Authorization header; raises Unauthenticated for any other kind of credentials."""
    if not authorization:
        return None
    if match := _BEARER.fullmatch(authorization):
        return match[1]
    raise Unauthenticated(say("CREDENTIALS_NOT_BEARER", "Send the token as 'Authorization: Bearer <token>'."))
