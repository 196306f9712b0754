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
class Door:
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
async def opened(simulators: Simulators, base: str | None = None) -> AsyncIterator[Door]:
    settings, clock, http = clerk_settings(base or simulators.clerk_base), Clock(), HttpClient("clerk")
    keys = KeySet(http, settings.jwks_url, clock)
    yield Door(ClerkSessions(settings, keys), clock, simulators)
    await keys.close()
    await http.close()


@pytest.fixture
async def door(simulators: Simulators) -> AsyncIterator[Door]:
    async with opened(simulators) as found:
        yield found


async def test_a_session_signed_by_a_published_key_is_accepted(door: Door) -> None:
    identity = await door.verify(await door.sign_in())
    assert identity.subject == "user_Ana"
    assert identity.organization is not None
    assert (identity.organization.id, identity.organization.role) == ("org_Loja", "org:admin")


async def test_the_keys_are_fetched_once_for_all_callers(door: Door) -> None:
    tokens = [await door.sign_in(user=user) for user in ("user_Ana", "user_Bia")] * 20
    await asyncio.gather(*(door.verify(text) for text in tokens))
    for text in tokens:
        await door.verify(text)
    assert await door.fetches() == 1


async def test_a_new_key_is_fetched_when_its_first_token_comes(door: Door) -> None:
    old = await door.sign_in()
    await door.verify(old)
    await door.simulators.control.act("clerk", "rotate_keys")
    new = await door.sign_in()
    assert await door.fault(new) is TokenFault.UNKNOWN_KEY
    door.clock.now += FETCH_INTERVAL
    await asyncio.gather(*(door.verify(new) for _ in range(20)))
    assert await door.fetches() == 2
    # Clerk still publishes the old key.
    await door.verify(old)


async def test_a_flood_of_unknown_keys_costs_one_fetch_a_minute(door: Door) -> None:
    await door.verify(await door.sign_in())
    for minute in range(1, 4):
        flood = [token(header_=header(kid=f"ins_{minute}x{number}"), key=STRANGERS_KEY) for number in range(50)]
        assert set(await asyncio.gather(*map(door.fault, flood))) == {TokenFault.UNKNOWN_KEY}
        assert await door.fetches() == minute
        door.clock.now += FETCH_INTERVAL


async def test_a_token_without_a_key_id_is_rejected(door: Door) -> None:
    made = await door.simulators.control.act("clerk", "mint", claims={}, header={})
    await door.verify(await door.sign_in())
    assert made["token"]
    assert await door.fault(token(header_={"alg": "RS256", "typ": "JWT"})) is TokenFault.UNKNOWN_KEY


async def test_the_keys_are_refreshed_regularly_and_no_caller_waits(door: Door) -> None:
    text = await door.sign_in()
    await door.verify(text)
    await door.simulators.control.arm("clerk", "slow", next=1, seconds=0.5)
    door.clock.now += KEY_LIFETIME + 1
    began = time.monotonic()
    await door.verify(text)
    assert time.monotonic() - began < 0.4
    async with asyncio.timeout(5):
        while await door.fetches() < 2:
            await asyncio.sleep(0.02)


async def test_a_withdrawn_key_is_accepted_no_longer_than_the_keys_are_cached(door: Door) -> None:
    text = await door.sign_in()
    await door.verify(text)
    await door.simulators.control.act("clerk", "rotate_keys", withdraw=True)
    await door.verify(text)
    door.clock.now += KEY_LIFETIME + 1
    await door.verify(text)
    keys = door.sessions._keys
    await wait_until(lambda: keys._fetching is None and keys._fetched_at == door.clock.now)
    assert await door.fault(text) is TokenFault.UNKNOWN_KEY


@pytest.mark.parametrize("kind", ["server_error", "garbage", "reset", "rate_limit"])
async def test_the_old_keys_go_on_while_new_ones_cannot_be_fetched(door: Door, kind: str) -> None:
    text = await door.sign_in()
    await door.verify(text)
    await door.simulators.control.arm("clerk", kind, always=True)
    door.clock.now += KEY_LIFETIME + 1
    for _ in range(20):
        await door.verify(text)
    assert await door.fault(token(key=STRANGERS_KEY)) is TokenFault.UNKNOWN_KEY
    await wait_until(lambda: door.sessions._keys._fetching is None)
    # What was reset on a connection kept from before, the HTTP client asks once more by itself.
    assert await door.fetches() == (3 if kind == "reset" else 2)


async def test_without_any_keys_it_is_not_the_callers_fault(door: Door) -> None:
    text = await door.sign_in()
    await door.simulators.control.arm("clerk", "server_error", next=1)
    for _ in range(3):
        with pytest.raises(Overloaded):
            await door.verify(text)
    assert await door.fetches() == 1
    door.clock.now += FETCH_INTERVAL_WITHOUT_KEYS
    await door.verify(text)


async def test_a_caller_that_stops_waiting_does_not_affect_the_others(door: Door) -> None:
    text = await door.sign_in()
    await door.simulators.control.arm("clerk", "slow", next=1, seconds=0.3)
    impatient, patient = (asyncio.create_task(door.verify(text)) for _ in range(2))
    await asyncio.sleep(0)
    impatient.cancel()
    assert (await patient).subject == "user_Ana"
    assert await door.fetches() == 1


async def test_a_silent_provider_is_waited_for_only_briefly(
    simulators: Simulators, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("integrations.clerk.jwks.FETCH_TIMEOUT", 0.2)

    async def silent(line: Connection) -> None:
        await line.request()
        await line.request()

    async with scripted_server(silent) as wire, opened(simulators, wire.base) as door:
        with pytest.raises(Overloaded):
            await door.verify(token())


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
