"""The HTTP client of all integrations: one call, no retry, and errors that say whether anything can have been done.

The only module that knows the HTTP library: aiohttp, which costs a third of what httpx costs.
"""

import asyncio
import base64
import hmac
import json as json_encoder
import os
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cache
from typing import Any
from urllib.parse import urlencode
from urllib.request import getproxies, proxy_bypass

import aiohttp
import certifi
from yarl import URL

from core.errors import FailureScope, OutcomeUnknown, ProviderUnavailable
from core.ports.calls import CallEnd, ProviderCalls, UncountedCalls

CONNECT_TIMEOUT = 5.0
TOTAL_TIMEOUT = 15.0
"""Seconds for a whole call, however slowly the body arrives."""
KEEP_ALIVE_SECONDS = 15.0
"""Seconds an idle connection is kept: less than any provider keeps it, so that it is rarely closed during a request."""

MAX_RESPONSE_BYTES = 4 * 1024 * 1024
"""Bytes of a response that are read; no provider here sends more."""
MAX_RETRY_AFTER = 86_400.0
"""Seconds: a longer pause, or one that is not a finite number, counts as a day."""
MAX_SUMMARY_LENGTH = 500
"""Characters of a response that are recorded."""
_MEDIA_TYPE = re.compile("[a-z]{1,20}/[a-z.+-]{1,40}")

_CONNECTION_FAILED = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, aiohttp.ClientHttpProxyError)
_FORM = {"content-type": "application/x-www-form-urlencoded"}
_JSON = {"content-type": "application/json"}


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """A provider's response; header names are lower-case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def retry_after(self) -> float | None:
        """Seconds that Retry-After asks for, as a number or as a date; None when it is absent."""
        return parse_retry_after(self.headers.get("retry-after"), said_at=self.headers.get("date"))

    def redacted(self, fields: Mapping[str, object], allowed: Mapping[str, re.Pattern[str]]) -> str:
        """Return what may be recorded unsealed: the status, and each allowed field that has its usual form.

        A field of another form may hold anything, even a person's number, and is left out. Where no field is left, the
        size and the media type are returned.
        """
        given = {name: str(fields[name]) for name in allowed if isinstance(fields.get(name), str | int)}
        kept = [f"{name}={text}" for name, text in given.items() if allowed[name].fullmatch(text)]
        if kept:
            return " ".join([str(self.status), *kept])[:MAX_SUMMARY_LENGTH]
        media_type = self.headers.get("content-type", "").partition(";")[0].strip().lower()
        return (
            f"{self.status}, {len(self.body)} bytes, {media_type if _MEDIA_TYPE.fullmatch(media_type) else 'no type'}"
        )


class HttpClient:
    """Calls to one provider over kept connections."""

    def __init__(
        self,
        provider: str,
        calls: ProviderCalls | None = None,
        *,
        connect_timeout: float = CONNECT_TIMEOUT,
        total_timeout: float = TOTAL_TIMEOUT,
    ) -> None:
        self._provider = provider
        self._calls = calls or UncountedCalls()
        self._total_timeout = total_timeout
        # The total is kept here: aiohttp raises the same error for it as for a connection that was never made.
        self._timeout = aiohttp.ClientTimeout(total=None, connect=connect_timeout)
        self._opened: aiohttp.ClientSession | None = None
        self._proxies = ProxySettings()
        self._trusted = _tls_context()

    async def counted_call(
        self,
        operation: str,
        method: str,
        url: str,
        *,
        through_circuit: bool = False,
        headers: Mapping[str, str] | None = None,
        json: Mapping[str, object] | None = None,
        form: Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None,
    ) -> HttpResponse:
        """Make one call of an operation that is counted in the ledger by the answer's status.

        Not for messages: their delivery counts them. Raises as `call` does, and ProviderUnavailable where the call goes
        through a circuit breaker that is open.
        """

        async def work() -> HttpResponse:
            return await self.call(method, url, headers=headers, json=json, form=form, query=query)

        return await self._calls.call(operation, work, judge=end_of_status, through_circuit=through_circuit)

    async def call(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        form: Mapping[str, str] | None = None,
        json: Mapping[str, object] | None = None,
        query: Mapping[str, str] | None = None,
    ) -> HttpResponse:
        """Make one call, without a retry.

        Raises ProviderUnavailable when no connection was made, so that certainly nothing was done, and OutcomeUnknown
        for any failure after that.
        """
        address = URL(url) if query is None else URL(url).update_query(query)
        body, content_type = _encode_body(form, json)
        try:
            async with (
                asyncio.timeout(self._total_timeout),
                self._session().request(
                    method,
                    address,
                    headers={**content_type, **(headers or {})},
                    data=body,
                    # Redirects are never followed: credentials go where the settings say and nowhere else.
                    allow_redirects=False,
                    **self._proxy_options(address),
                ) as response,
            ):
                content = await self._read_body(response)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise self._translate(error) from error
        return HttpResponse(response.status, {k.lower(): v for k, v in response.headers.items()}, content)

    def _session(self) -> aiohttp.ClientSession:
        """Return the session, which is opened at the first call because it needs a running event loop."""
        if self._opened is None:
            connector = aiohttp.TCPConnector(limit=100, keepalive_timeout=KEEP_ALIVE_SECONDS, ssl=self._trusted)
            self._opened = aiohttp.ClientSession(
                connector=connector, timeout=self._timeout, cookie_jar=aiohttp.DummyCookieJar()
            )
        return self._opened

    def _proxy_options(self, address: URL) -> dict[str, Any]:
        """Return the request's arguments for a proxy; none where the address is called directly."""
        proxy = self._proxies.of(address)
        if proxy is None:
            return {}
        headers = {"proxy-authorization": basic_auth(proxy.user, proxy.password or "")} if proxy.user else {}
        return {"proxy": proxy.address, "proxy_headers": headers}

    async def _read_body(self, response: aiohttp.ClientResponse) -> bytes:
        body = bytearray()
        async for chunk in response.content.iter_any():
            body += chunk
            if len(body) > MAX_RESPONSE_BYTES:
                answer = f"{response.status}, more than {MAX_RESPONSE_BYTES} bytes"
                raise OutcomeUnknown(
                    f"{self._provider} answered more than we read.", provider=self._provider, answer=answer
                )
        return bytes(body)

    def _translate(self, error: Exception) -> ProviderUnavailable | OutcomeUnknown:
        kind = type(error).__name__
        if isinstance(error, _CONNECTION_FAILED):
            return ProviderUnavailable(
                f"{self._provider} could not be reached ({kind}).",
                provider=self._provider,
                scope=FailureScope.PROVIDER,
            )
        # A kept connection that the provider closes while our request is on its way ends here too. The request is not
        # repeated: a provider that has read it before it closed the connection looks the same from here.
        return OutcomeUnknown(
            f"{self._provider} may have been asked, and gave no whole answer ({kind}).", provider=self._provider
        )

    async def close(self) -> None:
        if self._opened is not None:
            await self._opened.close()


def end_of_status(answer: HttpResponse) -> CallEnd:
    """How a call ended, by the status of its answer."""
    if answer.status in (401, 403):
        return CallEnd.REFUSED
    if answer.status == 429:
        return CallEnd.LIMITED
    if answer.status >= 500:
        return CallEnd.FAILED
    return CallEnd.ANSWERED if answer.status < 400 else CallEnd.REJECTED


def _encode_body(
    form: Mapping[str, str] | None, json: Mapping[str, object] | None
) -> tuple[bytes | None, dict[str, str]]:
    """Return a body, and its Content-Type header."""
    if form is not None:
        return urlencode(form).encode(), _FORM
    if json is not None:
        return json_encoder.dumps(json, ensure_ascii=False, separators=(",", ":")).encode(), _JSON
    return None, {}


@cache
def _tls_context() -> ssl.SSLContext:
    """Trust the authorities that the environment names, or else those of certifi, since a slim image has none.

    Cached because reading them takes a tenth of a second.
    """
    file, folder = os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")
    return ssl.create_default_context(cafile=file or (None if folder else certifi.where()), capath=folder)


def basic_auth(user: str, password: str) -> str:
    """Return the Authorization header of HTTP Basic."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def equal_in_constant_time(ours: str, theirs: str) -> bool:
    """Compare a signature of ours with one that was sent, in constant time, whatever characters it holds."""
    return hmac.compare_digest(ours.encode(), theirs.encode(errors="surrogatepass"))


def parse_retry_after(value: str | None, *, said_at: str | None = None) -> float | None:
    """Read a Retry-After header, seconds or HTTP date, as seconds from now; None for anything else.

    A date counts from `said_at`, the response's own Date header: the provider's clock and ours may differ.
    """
    text = (value or "").strip()
    if re.fullmatch("[0-9]+", text):
        return min(float(text), MAX_RETRY_AFTER)
    at = _parse_date(text)
    if at is None:
        return None
    now = _parse_date(said_at) or datetime.now(UTC)
    return min(max(0.0, (at - now).total_seconds()), MAX_RETRY_AFTER)


def _parse_date(text: str | None) -> datetime | None:
    try:
        at = parsedate_to_datetime(text or "")
        # The first and the last dates of the calendar cannot be converted to UTC.
        return at.replace(tzinfo=at.tzinfo or UTC).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


# A simulator on this machine cannot be reached through a proxy.
_LOOPBACK_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy and its credentials, which are not part of the address because errors and logs show the address."""

    address: URL
    user: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)


class ProxySettings:
    """The proxies of the environment as it is now: HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, and NO_PROXY."""

    def __init__(self) -> None:
        self._by_scheme: Mapping[str, Proxy] = {
            scheme: _parse_proxy(text) for scheme, text in getproxies().items() if text
        }
        self._known: dict[tuple[str, str], Proxy | None] = {}

    def of(self, address: URL) -> Proxy | None:
        """Return the proxy for an address; None where it is called directly."""
        if not self._by_scheme or address.host is None:
            return None
        target = (address.scheme, address.host)
        if target not in self._known:
            self._known[target] = self._find(*target)
        return self._known[target]

    def _find(self, scheme: str, host: str) -> Proxy | None:
        if host in _LOOPBACK_HOSTS or proxy_bypass(host):
            return None
        return self._by_scheme.get(scheme) or self._by_scheme.get("all")


def _parse_proxy(text: str) -> Proxy:
    address = URL(text if "://" in text else f"http://{text}")
    return Proxy(address.with_user(None), address.user, address.password)
