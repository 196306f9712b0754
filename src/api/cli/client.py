"""Our own API from outside: GraphQL over HTTP, and subscriptions over Server-Sent Events."""

import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any

import httpx

from api.cli.failures import Failure
from core.settings.addresses import is_loopback

# The server says something at least every 15 seconds while a stream is open.
_TIMEOUT = httpx.Timeout(10, read=40)


_WITHOUT_HEADER = 5
"""Seconds to wait where the server does not say for how long."""
_LEFT_OUT = "VALUE_UNREADABLE"
"""The code where a field is null because the server lacks the key that sealed it; the rest of the answer holds."""
_UNKNOWN_INPUT = "is not defined by type"
"""What GraphQL says of a field of an input that the server does not have."""


class NotSignedFor(Failure):
    """The server does not know the key that the token was signed with."""


class NotAllowed(Failure):
    """The caller lacks a scope for this."""


class Rejected(Failure):
    """The server will never do this: an argument is wrong, or it knows no such thing."""


class CursorExpired(Failure):
    """What came after a cursor is not told any more."""


class OutOfPoints(Failure):
    """The caller has asked for all that it may in a minute; after `seconds` it may ask again."""

    def __init__(self, message: str, seconds: int) -> None:
        super().__init__(message)
        self.seconds = seconds


class Api:
    """A server's GraphQL endpoint, and the token to call it with. Everything raises Failure."""

    def __init__(self, http: httpx.AsyncClient, url: str) -> None:
        self._http = http
        self._url = url

    async def ask(self, query: str, variables: Mapping[str, Any]) -> dict[str, Any]:
        """Return the data of a query or mutation."""
        try:
            answer = await self._http.post(self._url, json={"query": query, "variables": variables})
        except httpx.HTTPError as error:
            raise _unreachable(self._url, error) from None
        return _data(answer)

    async def follow(
        self, query: str, variables: Mapping[str, Any], *, opened: Callable[[], None] = lambda: None
    ) -> AsyncIterator[dict[str, Any]]:
        """Yield the data of each event of a subscription, until the server ends it; `opened` is told of its begin."""
        body, headers = {"query": query, "variables": variables}, {"accept": "text/event-stream"}
        try:
            async with self._http.stream("POST", self._url, json=body, headers=headers) as answer:
                if not answer.headers.get("content-type", "").startswith("text/event-stream"):
                    await answer.aread()
                    _data(answer)
                    raise Failure(f"{self._url} answers without a stream of events. Is --url Interalpha's?")
                opened()
                async for line in answer.aiter_lines():
                    if line.startswith("data: "):
                        yield _data(answer, line.removeprefix("data: ").encode())
        except httpx.HTTPError as error:
            raise _unreachable(self._url, error) from None


@asynccontextmanager
async def connect(address: str, token: str) -> AsyncIterator[Api]:
    """Open a client for the server at an address such as http://localhost:8000."""
    headers = {"authorization": f"Bearer {token}", "accept": "application/json"}
    # A proxy of the environment leads elsewhere; what is on this machine needs none.
    async with httpx.AsyncClient(headers=headers, timeout=_TIMEOUT, trust_env=not is_loopback(address)) as http:
        yield Api(http, f"{address.rstrip('/')}/graphql")


def _data(answer: httpx.Response, event: bytes | None = None) -> dict[str, Any]:
    """Read the data of an answer, or of one event of a stream; raises Failure with the server's words."""
    status = answer.status_code
    try:
        told = json.loads(answer.content if event is None else event)
        errors, data = told.get("errors"), told.get("data")
        codes = {str(_extensions(error).get("code")) for error in errors or ()}
        if isinstance(data, dict) and codes == {_LEFT_OUT}:
            return data
    except (ValueError, AttributeError, TypeError):
        raise Failure(f"The server answers with status {status} and no GraphQL. Is --url Interalpha's?") from None
    if "UNAUTHENTICATED" in codes:
        raise NotSignedFor(_words(errors[0]))
    if "QUOTA_EXCEEDED" in codes:
        raise OutOfPoints(_words(errors[0]), _seconds(answer.headers.get("retry-after")))
    if errors and (codes == {"VALIDATION"} or any(_UNKNOWN_INPUT in str(error.get("message")) for error in errors)):
        raise Rejected(
            f"The server does not know this request: its version differs from this command line's,"
            f" {version('interalpha')}. It says: {errors[0].get('message')}"
        )
    if errors:
        kind = next((_KINDS[code] for code in codes if code in _KINDS), Failure)
        raise kind("\n  ".join(_words(error) for error in errors))
    if not isinstance(data, dict):
        raise Failure(f"The server answers with status {status} and no data. Is --url Interalpha's?")
    return data


_KINDS: Mapping[str, type[Failure]] = {
    "FORBIDDEN": NotAllowed,
    "CURSOR_EXPIRED": CursorExpired,
    "INVALID_INPUT": Rejected,
    "NOT_FOUND": Rejected,
    "VARIABLES": Rejected,
}


def _words(error: Mapping[str, Any]) -> str:
    """Say an error: what happened, its code, and what to do where the server knows that."""
    more = _extensions(error)
    return f"{error.get('message')} ({more.get('code', 'no code')}) {more.get('advice') or ''}".rstrip()


def _extensions(error: Mapping[str, Any]) -> Mapping[str, Any]:
    return error.get("extensions") or {}


def _seconds(header: str | None) -> int:
    return int(header) if header is not None and header.isascii() and header.isdigit() else _WITHOUT_HEADER


def _unreachable(url: str, error: httpx.HTTPError) -> Failure:
    if isinstance(error, httpx.ConnectError):
        return Failure(f"Nobody answers at {url}. Start it with `make dev`, or name another with --url.")
    what = "does not answer in time" if isinstance(error, httpx.TimeoutException) else "breaks the connection off"
    return Failure(f"{url} {what} ({type(error).__name__}). Look into its log, and try again.")
