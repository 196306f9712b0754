"""The public keys of the Clerk instance: fetched at limited intervals, and kept while they cannot be fetched again.

A TTL cache does not fit: an old key stays valid while a new set is fetched, and one fetch serves all waiting calls.
"""

import asyncio
import base64
import binascii
import json
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import structlog
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey, RSAPublicNumbers

from core.errors import Overloaded, ProviderError
from core.words import say
from integrations.http_client import HttpClient

KEY_LIFETIME = 600.0
"""Seconds after which the keys are fetched again, so that a withdrawn key stops working."""
FETCH_INTERVAL = 60.0
"""Least seconds between two fetches, so that a flood of bad tokens does not cause a flood of fetches."""
FETCH_INTERVAL_WITHOUT_KEYS = 5.0
"""The same while there are no keys at all, so that no session can be verified."""
FETCH_TIMEOUT = 5.0
"""Seconds a fetch may take: the first calls with a new key wait for it."""
_SIZES = range(2_048, 8_193)
"""Bits of a key: a shorter key is not secure, a longer one makes each verification too expensive."""
_LARGEST_EXPONENT = 2**32

log = structlog.get_logger(__name__)

Keys = Mapping[str, RSAPublicKey]


class KeySet:
    """The keys behind one address, by their ids."""

    def __init__(self, http: HttpClient, url: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._http = http
        self._url = url
        self._clock = clock
        self._keys: Keys = {}
        self._fetched_at = -float("inf")
        self._tried_at = -float("inf")
        self._fetching: asyncio.Task[None] | None = None

    async def find(self, key_id: str | None) -> RSAPublicKey | None:
        """Return a key by its id; None when Clerk has none of that id.

        Raises Overloaded when there are no keys and they cannot be fetched.
        """
        if key_id in self._keys:
            if self._clock() - self._fetched_at > KEY_LIFETIME and self._may_fetch():
                # The old keys are used until the new ones have arrived.
                self._fetch()
        elif self._fetching is not None or self._may_fetch():
            await asyncio.shield(self._fetch())
        if not self._keys:
            text = say("SESSION_KEYS_AWAY", "Clerk's signing keys cannot be fetched at the moment.")
            raise Overloaded(text, retry_after=FETCH_INTERVAL_WITHOUT_KEYS)
        return self._keys.get(key_id) if key_id is not None else None

    async def close(self) -> None:
        """Cancel the fetch that is running."""
        if self._fetching is not None:
            self._fetching.cancel()
            await asyncio.gather(self._fetching, return_exceptions=True)

    def _may_fetch(self) -> bool:
        return self._clock() - self._tried_at >= (FETCH_INTERVAL if self._keys else FETCH_INTERVAL_WITHOUT_KEYS)

    def _fetch(self) -> "asyncio.Task[None]":
        """Start a fetch, or return the one that is running."""
        if self._fetching is None:
            self._tried_at = self._clock()
            self._fetching = asyncio.create_task(self._load())
            self._fetching.add_done_callback(self._clear)
        return self._fetching

    def _clear(self, _: object) -> None:
        self._fetching = None

    async def _load(self) -> None:
        try:
            async with asyncio.timeout(FETCH_TIMEOUT):
                answer = await self._http.counted_call("read keys", "GET", self._url)
        except (ProviderError, TimeoutError) as error:
            log.warning("clerk_keys_not_fetched", reason=str(error) or "no answer in time")
            return
        keys = parse_keys(answer.body) if answer.status == 200 else {}
        if not keys:
            log.warning("clerk_keys_not_fetched", reason="no key in the answer", status=answer.status)
            return
        self._keys, self._fetched_at = keys, self._clock()


def parse_keys(body: bytes) -> Keys:
    """Read a set of keys; only RSA keys for RS256 signatures count. https://www.rfc-editor.org/rfc/rfc7517"""
    try:
        found = json.loads(body)["keys"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return {}
    return dict(_each_key(found)) if isinstance(found, list) else {}


def _each_key(found: list[Any]) -> Iterator[tuple[str, RSAPublicKey]]:
    for one in found:
        if not isinstance(one, dict) or one.get("kty") != "RSA" or one.get("use", "sig") != "sig":
            continue
        try:
            exponent, modulus = _number(one["e"]), _number(one["n"])
            if exponent > _LARGEST_EXPONENT or modulus.bit_length() not in _SIZES:
                continue
            key = RSAPublicNumbers(e=exponent, n=modulus).public_key()
        except (KeyError, TypeError, ValueError):
            continue
        if isinstance(one.get("kid"), str) and one.get("alg", "RS256") == "RS256":
            yield one["kid"], key


def _number(text: str) -> int:
    try:
        return int.from_bytes(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)), "big")
    except binascii.Error as error:
        raise ValueError("not base64url") from error
