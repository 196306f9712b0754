"""Our own API from outside: GraphQL over HTTP, and subscriptions over Server-Sent Events."""

import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx

from api.cli.failures import Failure
from core.settings.addresses import is_loopback

# The server says something at least every 15 seconds while a stream is open.
_TIMEOUT = httpx.Timeout(10, read=40)


class NotSignedFor(Failure):
    """The server does not know the key that the token was signed with."""


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
        return _data(answer.content, answer.status_code)

    async def follow(
        self, query: str, variables: Mapping[str, Any], *, opened: Callable[[], None] = lambda: None
    ) -> AsyncIterator[dict[str, Any]]:
        """Yield the data of each event of a subscription, until the server ends it; `opened` is told of its begin."""
        body, headers = {"query": query, "variables": variables}, {"accept": "text/event-stream"}
        try:
            async with self._http.stream("POST", self._url, json=body, headers=headers) as answer:
                if answer.status_code != 200:
                    _data(await answer.aread(), answer.status_code)
                opened()
                async for line in answer.aiter_lines():
                    if line.startswith("data: "):
                        yield _data(line.removeprefix("data: ").encode(), 200)
        except httpx.HTTPError as error:
            raise _unreachable(self._url, error) from None


@asynccontextmanager
async def connect(address: str, token: str) -> AsyncIterator[Api]:
    """Open a client for the server at an address such as http://localhost:8000."""
    headers = {"authorization": f"Bearer {token}", "accept": "application/json"}
    # A proxy of the environment leads elsewhere; what is on this machine needs none.
    async with httpx.AsyncClient(headers=headers, timeout=_TIMEOUT, trust_env=not is_loopback(address)) as http:
        yield Api(http, f"{address.rstrip('/')}/graphql")


def _data(body: bytes, status: int) -> dict[str, Any]:
    try:
        answer = json.loads(body)
        errors, data = answer.get("errors"), answer.get("data")
    except (ValueError, AttributeError):
        raise Failure(f"The server answers with status {status} and no GraphQL. Is --url Interalpha's?") from None
    if errors and any(_code(error) == "UNAUTHENTICATED" for error in errors):
        raise NotSignedFor(_words(errors[0]))
    if errors:
        raise Failure("\n  ".join(_words(error) for error in errors))
    if not isinstance(data, dict):
        raise Failure(f"The server answers with status {status} and no data. Is --url Interalpha's?")
    return data


def _words(error: Mapping[str, Any]) -> str:
    return f"{error.get('message')} ({_code(error)})"


def _code(error: Mapping[str, Any]) -> str:
    return str((error.get("extensions") or {}).get("code", "no code"))


def _unreachable(url: str, error: httpx.HTTPError) -> Failure:
    if isinstance(error, httpx.ConnectError):
        return Failure(f"Nobody answers at {url}. Start it with `make dev`, or name another with --url.")
    what = "does not answer in time" if isinstance(error, httpx.TimeoutException) else "breaks the connection off"
    return Failure(f"{url} {what} ({type(error).__name__}). Look into its log, and try again.")
