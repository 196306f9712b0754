"""The instance's public keys: fetched seldom, and kept when they cannot be fetched."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from core.errors import Overloaded
from core.ports import Identity, InvalidToken, Severity, TokenFault
from integrations.clerk.adapter import ClerkSessions
from integrations.clerk.jwks import FETCH_INTERVAL, FETCH_INTERVAL_WITHOUT_KEYS, KEY_LIFETIME, KeySet, parse_keys
from integrations.clerk.probe import ClerkProbe
from integrations.http_client import HttpClient
from tests.helpers import wait_until
from tests.providers.clerk_tokens import PUBLIC_PEM, STRANGERS_KEY, header, token
from tests.providers.factories import clerk_settings
from tests.providers.servers import Connection, scripted_server
from tests.servers import Simulators

JWKS = "/clerk/.well-known/jwks.json"


@dataclass
class Clock:
    """A stopped clock that the test can move."""

    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class ClerkInstance:
    """The verifier, with a clock of its own for the keys."""

    sessions: ClerkSessions
    clock: Clock
    simulators: Simulators

    async def verify(self, text: str) -> Identity:
        return await self.sessions.verify(text)

    async def fault(self, text: str) -> TokenFault:
        with pytest.raises(InvalidToken) as caught:
            await self.sessions.verify(text)
        return caught.value.reason

    async def fetches(self) -> int:
        return len([one for one in await self.simulators.control.journal(simulator="clerk") if one["path"] == JWKS])

    async def sign_in(self, **order: Any) -> str:
        return str((await self.simulators.control.act("clerk", "sign_in", **order))["token"])


@asynccontextmanager
async def opened(simulators: Simulators, base: str | None = None) -> AsyncIterator[ClerkInstance]:
    settings, clock, http = clerk_settings(base or simulators.clerk_base), Clock(), HttpClient("clerk")
    keys = KeySet(http, settings.jwks_url, clock)
    yield ClerkInstance(ClerkSessions(settings, keys), clock, simulators)
    await keys.close()
    await http.close()


@pytest.fixture
async def instance(simulators: Simulators) -> AsyncIterator[ClerkInstance]:
    async with opened(simulators) as found:
        yield found


async def test_a_session_signed_by_a_published_key_is_accepted(instance: ClerkInstance) -> None:
    identity = await instance.verify(await instance.sign_in())
    assert identity.subject == "user_Ana"
    assert identity.organization is not None
    assert (identity.organization.id, identity.organization.role) == ("org_Loja", "org:admin")


async def test_the_keys_are_fetched_once_for_all_callers(instance: ClerkInstance) -> None:
    tokens = [await instance.sign_in(user=user) for user in ("user_Ana", "user_Bia")] * 20
    await asyncio.gather(*(instance.verify(text) for text in tokens))
    for text in tokens:
        await instance.verify(text)
    assert await instance.fetches() == 1


async def test_a_new_key_is_fetched_when_its_first_token_comes(instance: ClerkInstance) -> None:
    old = await instance.sign_in()
    await instance.verify(old)
    await instance.simulators.control.act("clerk", "rotate_keys")
    new = await instance.sign_in()
    assert await instance.fault(new) is TokenFault.UNKNOWN_KEY
    instance.clock.now += FETCH_INTERVAL
    await asyncio.gather(*(instance.verify(new) for _ in range(20)))
    assert await instance.fetches() == 2
    # Clerk still publishes the old key.
    await instance.verify(old)


async def test_a_flood_of_unknown_keys_costs_one_fetch_a_minute(instance: ClerkInstance) -> None:
    await instance.verify(await instance.sign_in())
    for minute in range(1, 4):
        flood = [token(header_=header(kid=f"ins_{minute}x{number}"), key=STRANGERS_KEY) for number in range(50)]
        assert set(await asyncio.gather(*map(instance.fault, flood))) == {TokenFault.UNKNOWN_KEY}
        assert await instance.fetches() == minute
        instance.clock.now += FETCH_INTERVAL


async def test_a_token_without_a_key_id_is_rejected(instance: ClerkInstance) -> None:
    made = await instance.simulators.control.act("clerk", "mint", claims={}, header={})
    await instance.verify(await instance.sign_in())
    assert made["token"]
    assert await instance.fault(token(header_={"alg": "RS256", "typ": "JWT"})) is TokenFault.UNKNOWN_KEY


async def test_the_keys_are_refreshed_regularly_and_no_caller_waits(instance: ClerkInstance) -> None:
    text = await instance.sign_in()
    await instance.verify(text)
    await instance.simulators.control.arm("clerk", "slow", next=1, seconds=0.5)
    instance.clock.now += KEY_LIFETIME + 1
    began = time.monotonic()
    await instance.verify(text)
    assert time.monotonic() - began < 0.4
    async with asyncio.timeout(5):
        while await instance.fetches() < 2:
            await asyncio.sleep(0.02)


async def test_a_withdrawn_key_is_accepted_no_longer_than_the_keys_are_cached(instance: ClerkInstance) -> None:
    text = await instance.sign_in()
    await instance.verify(text)
    await instance.simulators.control.act("clerk", "rotate_keys", withdraw=True)
    await instance.verify(text)
    instance.clock.now += KEY_LIFETIME + 1
    await instance.verify(text)
    keys = instance.sessions._keys
    await wait_until(lambda: keys._fetching is None and keys._fetched_at == instance.clock.now)
    assert await instance.fault(text) is TokenFault.UNKNOWN_KEY


@pytest.mark.parametrize("kind", ["server_error", "garbage", "reset", "rate_limit"])
async def test_the_old_keys_go_on_while_new_ones_cannot_be_fetched(instance: ClerkInstance, kind: str) -> None:
    text = await instance.sign_in()
    await instance.verify(text)
    await instance.simulators.control.arm("clerk", kind, always=True)
    instance.clock.now += KEY_LIFETIME + 1
    for _ in range(20):
        await instance.verify(text)
    assert await instance.fault(token(key=STRANGERS_KEY)) is TokenFault.UNKNOWN_KEY
    await wait_until(lambda: instance.sessions._keys._fetching is None)
    # What was reset on a connection kept from before, the HTTP client asks once more by itself.
    assert await instance.fetches() == (3 if kind == "reset" else 2)


async def test_without_any_keys_it_is_not_the_callers_fault(instance: ClerkInstance) -> None:
    text = await instance.sign_in()
    await instance.simulators.control.arm("clerk", "server_error", next=1)
    for _ in range(3):
        with pytest.raises(Overloaded):
            await instance.verify(text)
    assert await instance.fetches() == 1
    instance.clock.now += FETCH_INTERVAL_WITHOUT_KEYS
    await instance.verify(text)


async def test_a_caller_that_stops_waiting_does_not_affect_the_others(instance: ClerkInstance) -> None:
    text = await instance.sign_in()
    await instance.simulators.control.arm("clerk", "slow", next=1, seconds=0.3)
    impatient, patient = (asyncio.create_task(instance.verify(text)) for _ in range(2))
    await asyncio.sleep(0)
    impatient.cancel()
    assert (await patient).subject == "user_Ana"
    assert await instance.fetches() == 1


async def test_a_silent_provider_is_waited_for_only_briefly(
    simulators: Simulators, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("integrations.clerk.jwks.FETCH_TIMEOUT", 0.2)

    async def silent(line: Connection) -> None:
        await line.request()
        await line.request()

    async with scripted_server(silent) as wire, opened(simulators, wire.base) as instance:
        with pytest.raises(Overloaded):
            await instance.verify(token())


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b'{"keys": {}}',
        b'{"keys": [1, null, {}]}',
        b'{"keys": [{"kty": "RSA", "kid": "a", "n": "AQAB", "e": "AQAB"}]}',
        b'{"keys": [{"kty": "oct", "kid": "a", "k": "AAAA"}]}',
        b'{"keys": [{"kty": "RSA", "kid": "a", "n": 1, "e": 2}]}',
        b'{"keys": [{"kty": "RSA", "use": "enc", "kid": "a", "n": "AQAB", "e": "AQAB"}]}',
        b"[" * 100_000,
    ],
)
def test_an_invalid_key_set_has_no_keys(body: bytes) -> None:
    assert parse_keys(body) == {}


@asynccontextmanager
async def probing(simulators: Simulators, **changes: str) -> AsyncIterator[ClerkProbe]:
    http = HttpClient("clerk")
    yield ClerkProbe(clerk_settings(simulators.clerk_base, **changes), http)
    await http.close()


async def test_the_probe_finds_nothing_wrong_with_what_is_right(simulators: Simulators) -> None:
    async with probing(simulators) as probe:
        assert await probe.check() == []


async def test_the_probe_notices_a_wrong_secret_key_and_an_old_public_key(simulators: Simulators) -> None:
    async with probing(simulators, CLERK_SECRET_KEY="sk_test_" + "e" * 24) as probe:
        [found] = await probe.check()
        assert (found.code, found.severity) == ("CLERK_REFUSES_US", Severity.CRITICAL)
    async with probing(simulators, CLERK_JWT_KEY=PUBLIC_PEM) as probe:
        [found] = await probe.check()
        assert found.code == "CLERK_KEY_ROTATED"
    await simulators.control.arm("clerk", "server_error", next=1, at="api")
    async with probing(simulators) as probe:
        [found] = await probe.check()
        assert found.code == "CLERK_UNREACHABLE"
