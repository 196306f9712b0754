"""What every integration that speaks HTTP needs: one client, transport failures told apart, comparing in constant time.

The only file that knows the HTTP client: httpx on aiohttp's transport, which costs a sixth of httpx's own.
"""

import asyncio
import base64
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import aiohttp
import httpx
from httpx_aiohttp import HttpxAiohttpClient

from core.errors import OutcomeUnknown, ProviderUnavailable

CONNECT_TIMEOUT = 5.0
TOTAL_TIMEOUT = 15.0
"""Seconds for a whole call; a body that drips in byte by byte ends here too."""

_MAX_ANSWER = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Answer:
    """What a company answered; header names are lower-case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def retry_after(self) -> float | None:
        """Seconds to wait as the company asks, given as a number or as a date; None when it does not say."""
        return read_retry_after(self.headers.get("retry-after"))


class Http:
    """Calls to one company."""

    def __init__(self, provider: str) -> None:
        self._provider = provider
        # Redirects are never followed: credentials go where the settings say and nowhere else.
        self._client = HttpxAiohttpClient(
            timeout=httpx.Timeout(TOTAL_TIMEOUT, connect=CONNECT_TIMEOUT, pool=CONNECT_TIMEOUT),
            limits=httpx.Limits(max_connections=100, max_keepalive_connections=100, keepalive_expiry=15),
            follow_redirects=False,
        )

    async def call(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        form: Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None,
    ) -> Answer:
        """Make one call, never repeated here.

        Raises ProviderUnavailable when no connection came about, so that surely nothing was done, and OutcomeUnknown
        for anything that went wrong after that.
        """
        try:
            async with asyncio.timeout(TOTAL_TIMEOUT):
                response = await self._client.request(method, url, headers=headers, data=form, params=query)
        except (httpx.HTTPError, aiohttp.ClientError, OSError, TimeoutError) as error:
            raise self._translate(error) from error
        if len(response.content) > _MAX_ANSWER:
            raise OutcomeUnknown(f"{self._provider} answered more than we read.", provider=self._provider)
        return Answer(response.status_code, {k.lower(): v for k, v in response.headers.items()}, response.content)

    def _translate(self, error: Exception) -> ProviderUnavailable | OutcomeUnknown:
        # httpx-aiohttp calls every lost connection a ConnectTimeout, one that broke after the request included:
        # only aiohttp's own error, underneath, says whether there ever was a connection.
        cause = error.__cause__ or error
        kind = type(cause).__name__
        if isinstance(cause, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError | httpx.ConnectError):
            return ProviderUnavailable(f"{self._provider} could not be reached ({kind}).", provider=self._provider)
        return OutcomeUnknown(
            f"The connection to {self._provider} broke after the request had left ({kind}).",
            provider=self._provider,
        )

    async def close(self) -> None:
        await self._client.aclose()


def basic_auth(user: str, password: str) -> str:
    """The Authorization header of HTTP Basic."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def same(ours: str, theirs: str) -> bool:
    """Compare a signature we made with one we were given, in constant time, whatever characters it holds."""
    return hmac.compare_digest(ours.encode(), theirs.encode(errors="surrogatepass"))


def read_retry_after(value: str | None) -> float | None:
    """Read a Retry-After header, seconds or HTTP date, as seconds from now; None for anything else."""
    if value is None:
        return None
    if value.strip().isdigit():
        return float(value)
    try:
        at = parsedate_to_datetime(value)
    except ValueError:
        return None
    return max(0.0, (at.replace(tzinfo=at.tzinfo or UTC) - datetime.now(UTC)).total_seconds())
