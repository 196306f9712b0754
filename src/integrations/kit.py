"""What every integration that speaks HTTP needs: one client, transport failures told apart, comparing in constant time.

The only file that knows the HTTP client: httpx on aiohttp's transport, which costs a sixth of httpx's own.
"""

import asyncio
import base64
import hmac
import re
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
KEPT = 15.0
"""Seconds an idle connection is kept: less than any company keeps its own, so that it is rarely closed under us."""

MAX_ANSWER = 4 * 1024 * 1024
"""Bytes of an answer that are read; no company here says more."""
LONGEST_WAIT = 86_400.0
"""Seconds: whoever asks for a longer pause, or for no number at all, gets a day."""
LONGEST_KEPT = 500
"""Characters of an answer that are kept in plain."""
_MEDIA_TYPE = re.compile("[a-z]{1,20}/[a-z.+-]{1,40}")

# Whatever proxy the environment names, a simulator on this machine is called directly.
_NOT_THROUGH_A_PROXY = dict.fromkeys(("all://localhost", "all://127.0.0.1", "all://[::1]"))
_NEVER_CONNECTED = (
    aiohttp.ClientConnectorError,
    aiohttp.ConnectionTimeoutError,
    aiohttp.ClientHttpProxyError,
    httpx.ConnectError,
)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a company answered; header names are lower-case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def retry_after(self) -> float | None:
        """Seconds to wait as the company asks, given as a number or as a date; None when it does not say."""
        return read_retry_after(self.headers.get("retry-after"), said_at=self.headers.get("date"))

    def in_plain(self, fields: Mapping[str, object], allowed: Mapping[str, re.Pattern[str]]) -> str:
        """What of the answer may be kept unsealed: its status, and the fields that are allowed and look as they should.

        A field of another form may hold anything, a person's number too, and is left out. Where nothing is left: the
        size and the type.
        """
        told = {name: str(fields[name]) for name in allowed if isinstance(fields.get(name), str | int)}
        kept = [f"{name}={text}" for name, text in told.items() if allowed[name].fullmatch(text)]
        if kept:
            return " ".join([str(self.status), *kept])[:LONGEST_KEPT]
        media_type = self.headers.get("content-type", "").partition(";")[0].strip().lower()
        return (
            f"{self.status}, {len(self.body)} bytes, {media_type if _MEDIA_TYPE.fullmatch(media_type) else 'no type'}"
        )


class Http:
    """Calls to one company."""

    def __init__(
        self, provider: str, *, connect_timeout: float = CONNECT_TIMEOUT, total_timeout: float = TOTAL_TIMEOUT
    ) -> None:
        self._provider = provider
        self._total_timeout = total_timeout
        # Redirects are never followed: credentials go where the settings say and nowhere else.
        self._client = HttpxAiohttpClient(
            timeout=httpx.Timeout(total_timeout, connect=connect_timeout, pool=connect_timeout),
            limits=httpx.Limits(max_connections=100, max_keepalive_connections=100, keepalive_expiry=KEPT),
            mounts=_NOT_THROUGH_A_PROXY,
            follow_redirects=False,
        )

    async def call(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        form: Mapping[str, str] | None = None,
        json: Mapping[str, object] | None = None,
        query: Mapping[str, str] | None = None,
    ) -> Answer:
        """Make one call, never repeated here.

        Raises ProviderUnavailable when no connection came about, so that surely nothing was done, and OutcomeUnknown
        for anything that went wrong after that.
        """
        try:
            async with (
                asyncio.timeout(self._total_timeout),
                self._client.stream(method, url, headers=headers, data=form, json=json, params=query) as response,
            ):
                body = await self._read(response)
        except (httpx.HTTPError, aiohttp.ClientError, OSError, TimeoutError) as error:
            raise self._translate(error) from error
        return Answer(response.status_code, {k.lower(): v for k, v in response.headers.items()}, body)

    async def _read(self, response: httpx.Response) -> bytes:
        body = bytearray()
        async for chunk in response.aiter_bytes():
            body += chunk
            if len(body) > MAX_ANSWER:
                answer = f"{response.status_code}, more than {MAX_ANSWER} bytes"
                raise OutcomeUnknown(
                    f"{self._provider} answered more than we read.", provider=self._provider, answer=answer
                )
        return bytes(body)

    def _translate(self, error: Exception) -> ProviderUnavailable | OutcomeUnknown:
        # httpx-aiohttp calls every lost connection a ConnectTimeout, one that broke after the request included:
        # only aiohttp's own error, underneath, says whether there ever was a connection.
        cause = (error.__cause__ or error) if isinstance(error, httpx.HTTPError) else error
        kind = type(cause).__name__
        if isinstance(cause, _NEVER_CONNECTED):
            return ProviderUnavailable(f"{self._provider} could not be reached ({kind}).", provider=self._provider)
        # A kept connection that the company closes while our request is on its way ends here too. It is not tried
        # again: a company that read the request before it hung up looks just the same from here.
        return OutcomeUnknown(
            f"{self._provider} may have been asked, and gave no whole answer ({kind}).", provider=self._provider
        )

    async def close(self) -> None:
        await self._client.aclose()


def basic_auth(user: str, password: str) -> str:
    """The Authorization header of HTTP Basic."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def same(ours: str, theirs: str) -> bool:
    """Compare a signature we made with one we were given, in constant time, whatever characters it holds."""
    return hmac.compare_digest(ours.encode(), theirs.encode(errors="surrogatepass"))


def read_retry_after(value: str | None, *, said_at: str | None = None) -> float | None:
    """Read a Retry-After header, seconds or HTTP date, as seconds from now; None for anything else.

    A date counts from `said_at`, the answer's own Date header: the company's clock and ours may be an hour apart.
    """
    text = (value or "").strip()
    if re.fullmatch("[0-9]+", text):
        return min(float(text), LONGEST_WAIT)
    at = _read_date(text)
    if at is None:
        return None
    now = _read_date(said_at) or datetime.now(UTC)
    return min(max(0.0, (at - now).total_seconds()), LONGEST_WAIT)


def _read_date(text: str | None) -> datetime | None:
    try:
        at = parsedate_to_datetime(text or "")
        # Dates at the very ends of the calendar cannot be moved into our zone.
        return at.replace(tzinfo=at.tzinfo or UTC).astimezone(UTC)
    except (ValueError, OverflowError):
        return None
