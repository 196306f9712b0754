"""From a request's credentials to a principal: the Authorization header, cookies, API keys, sessions, tokens."""

import asyncio
import re
from collections.abc import Callable, Hashable, Mapping, Sequence

import structlog

from api.bootstrap import App
from api.http.metrics import refused_keys, refused_sessions
from core.access.api_key_lookup import KeyRefused, looks_like_key
from core.access.directory import Tenants, tenant_unknown
from core.access.sessions import DevelopmentTokens, Sessions
from core.errors import Overloaded, Unauthenticated
from core.ports import InvalidToken
from core.ports.identity import Principal
from core.words import say

RECHECK_SECONDS = 2.0
"""How often the credentials behind open sockets and streams are checked again."""
_BEARER = re.compile(r"bearer +(\S+) *", re.IGNORECASE)

log = structlog.get_logger(__name__)


class CookieToken(str):
    """A token from a cookie: browsers send it whichever page made the request."""

    __slots__ = ()


def token_of(headers: Mapping[str, str], cookies: Sequence[str]) -> str | None:
    """Read the token of a request: from the Authorization header, or else from the first of the named cookies.

    Raises Unauthenticated for another kind of Authorization header.
    """
    if token := bearer_token(headers.get("authorization")):
        return token
    if not cookies or not _may_use_cookies(headers.get("origin"), headers.get("sec-fetch-site")):
        return None
    sent = _parse_cookies(headers.get("cookie", ""))
    return next((CookieToken(sent[name]) for name in cookies if sent.get(name)), None)


def bearer_token(authorization: str | None) -> str | None:
    """Read the token of an Authorization header; raises Unauthenticated for any other kind of credentials."""
    if not authorization:
        return None
    if match := _BEARER.fullmatch(authorization):
        return match[1]
    raise Unauthenticated(say("CREDENTIALS_NOT_BEARER", "Send the token as 'Authorization: Bearer <token>'."))


def _may_use_cookies(origin: str | None, fetch_site: str | None) -> bool:
    """Whether the request comes from a page of the same site; without Sec-Fetch-Site, only if it has no Origin."""
    if fetch_site is not None:
        return fetch_site in ("same-origin", "same-site")
    return origin is None


def _parse_cookies(header: str) -> dict[str, str]:
    """Read a Cookie header. A malformed pair is skipped; of two cookies with one name, the first counts."""
    found: dict[str, str] = {}
    for pair in header.split(";"):
        name, equals, value = pair.strip().partition("=")
        if equals:
            found.setdefault(name, value)
    return found


class Authenticator:
    """Verifies the credentials this installation accepts: API keys, sessions, and development tokens.

    Development tokens are accepted outside production only.
    """

    recheck_seconds = RECHECK_SECONDS

    def __init__(self, app: App) -> None:
        self._keys = app.services.key_ring
        self._tokens = app.tokens
        self._tenants = Tenants(app.database)
        self._sessions = Sessions(app.database, app.identities) if app.identities is not None else None

    async def authenticate(self, token: str | None) -> Principal | None:
        """Return the caller a token stands for; None without a token.

        Raises Unauthenticated for an invalid token, and Overloaded when it cannot be verified at the moment.
        """
        if token is None:
            return None
        # API keys belong to programs: a page could have put one into a cookie.
        if looks_like_key(token) and not isinstance(token, CookieToken):
            return await self._authenticate_key(token)
        if self._tokens is not None and (self._sessions is None or DevelopmentTokens.recognises(token)):
            return await self._authenticate_development_token(self._tokens, token)
        if self._sessions is None:
            raise Unauthenticated(
                say(
                    "NO_CREDENTIALS_ACCEPTED",
                    "This server accepts only API keys: development tokens are not valid in production, and "
                    "Clerk is not configured.",
                )
            )
        return await self._authenticate_session(self._sessions, token)

    async def is_valid(self, caller: Principal | None) -> bool:
        """Whether credentials that were accepted earlier would still be accepted; True when that cannot be checked."""
        if caller is None:
            return True
        try:
            if caller.api_key is not None:
                return await self._keys.is_still_valid(caller)
            if caller.session is not None and self._sessions is not None:
                return await self._sessions.is_still_valid(caller)
            return await self._tenants.has(caller.tenant_id)
        except Overloaded:
            return True

    async def until_invalid(self, caller: Callable[[], Principal | None]) -> None:
        """Wait until the credentials of the current caller are no longer accepted; `caller` returns who that is."""
        while True:
            await asyncio.sleep(self.recheck_seconds)
            if not await self.is_valid(caller()):
                return

    async def _authenticate_key(self, key: str) -> Principal:
        try:
            return await self._keys.authenticate(key)
        except KeyRefused as error:
            # The public name of the key identifies it and grants nothing.
            log.info("key_refused", reason=error.reason.value, key=error.name)
            refused_keys.labels(error.reason.value).inc()
            raise

    async def _authenticate_development_token(self, tokens: DevelopmentTokens, token: str) -> Principal:
        caller = tokens.read(token)
        # While the database is away the signature suffices: everything else that needs it fails with its own error.
        if not await self.is_valid(caller):
            raise tenant_unknown()
        return caller

    async def _authenticate_session(self, sessions: Sessions, token: str) -> Principal:
        try:
            return await sessions.authenticate(token, needs_party=isinstance(token, CookieToken))
        except InvalidToken as error:
            # The reason only: a log with a token in it would let its readers sign in.
            log.info("session_refused", reason=error.reason.value)
            refused_sessions.labels(error.reason.value).inc()
            raise


def identity_of(caller: Principal | None) -> Hashable:
    """A value that is equal for callers that are the same and have the same permissions."""
    return caller and (caller.subject, caller.actor, permissions_of(caller))


def permissions_of(caller: Principal | None) -> Hashable:
    """A value that is equal for callers who may see the same data."""
    return caller and (caller.tenant_id, frozenset(caller.scopes))
