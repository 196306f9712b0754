"""From an API key to a principal: which are accepted, and how few statements it takes."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta

import asyncpg
import pytest

from core.access import api_key_lookup, api_keys
from core.access.api_key_format import KeyKind, generate_key
from core.access.api_key_lookup import CACHE_SECONDS, ApiKeyVerifier, KeyFault, KeyRefused
from core.access.api_keys import ApiKey, NewKey
from core.addresses import email_address, phone_address
from core.database import Database
from core.errors import Overloaded
from core.ports.principal import DEFAULT_TENANT, UNRESTRICTED, ActorKind, Principal, Reach, Scope
from core.sealing import Sealer
from tests.databases import Urls
from tests.helpers import until

READ = frozenset({Scope.MESSAGES_READ, Scope.MESSAGES_SEND})
ANA = phone_address("+5511987654321", path=[])
BIA = email_address("Bia@Example.com", path=[])


@dataclass
class Desk:
    """Keys of one database, the ring that knows them, and a clock that stands still."""

    database: Database
    sealer: Sealer
    ring: ApiKeyVerifier
    now: float = 0.0

    async def make(self, kind: KeyKind = KeyKind.LIVE, **more) -> tuple[ApiKey, str]:  # type: ignore[no-untyped-def]
        key = NewKey("a server", kind, more.pop("scopes", READ), **more)
        async with self.database.transaction(DEFAULT_TENANT) as connection:
            return await api_keys.create_api_key(
                connection, self.sealer, DEFAULT_TENANT, key, maker=None, created_by="cli"
            )

    async def revoke(self, key: ApiKey) -> None:
        async with self.database.transaction(DEFAULT_TENANT) as connection:
            assert await api_keys.revoke_api_key(connection, DEFAULT_TENANT, key.id)

    async def fault(self, token: str) -> KeyFault:
        with pytest.raises(KeyRefused) as caught:
            await self.ring.authenticate(token)
        return caught.value.reason


@dataclass
class Counted:
    """A database that counts the transactions it is asked for."""

    inner: Database
    asked: int = 0

    def transaction(self, *tenants, **how):  # type: ignore[no-untyped-def]
        self.asked += 1
        return self.inner.transaction(*tenants, **how)


@pytest.fixture
async def desk(app_database: Database, sealer: Sealer) -> AsyncIterator[Desk]:
    made = Desk(app_database, sealer, None)  # type: ignore[arg-type]
    made.ring = ApiKeyVerifier(app_database, sealer, lambda: made.now)
    yield made
    await made.ring.close()


@pytest.fixture
def counted(desk: Desk) -> Counted:
    """The desk's ring over a database that counts."""
    found = Counted(desk.database)
    desk.ring = ApiKeyVerifier(found, desk.sealer, lambda: desk.now)  # type: ignore[arg-type]
    return found


@pytest.fixture
async def owner(urls: Urls) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(urls.direct)
    yield connection
    await connection.close()


async def test_a_key_lets_its_server_in_with_its_scopes_and_no_others(desk: Desk) -> None:
    key, secret = await desk.make()
    found = await desk.ring.authenticate(secret)
    assert found == Principal(DEFAULT_TENANT, f"key:{key.public_id}", READ, api_key=key.id, kind=ActorKind.KEY)


async def test_each_kind_reaches_whom_it_may(desk: Desk) -> None:
    _, live = await desk.make()
    _, allowed = await desk.make(KeyKind.ALLOW_LIST, recipients=[ANA, BIA])
    _, test = await desk.make(KeyKind.TEST)
    reaches = [(await desk.ring.authenticate(one)).reach for one in (live, allowed, test)]
    named = frozenset({"+5511987654321", "Bia@example.com"})
    assert reaches == [UNRESTRICTED, Reach(recipients=named), Reach(simulated_only=True)]


async def test_no_key_and_no_allow_list_entry_is_readable_in_the_database(
    desk: Desk, owner: asyncpg.Connection
) -> None:
    _, secret = await desk.make(KeyKind.ALLOW_LIST, recipients=[ANA])
    row = await owner.fetchrow("SELECT api_keys::text AS text, recipients_masked FROM api_keys")
    assert secret[-49:-6] not in row["text"]
    assert "987654321" not in row["text"]
    assert row["recipients_masked"] == ["+55 11 9••••-4321"]


async def test_an_unreadable_allow_list_allows_no_recipient(desk: Desk, owner: asyncpg.Connection) -> None:
    _, secret = await desk.make(KeyKind.ALLOW_LIST, recipients=[ANA])
    await owner.execute("UPDATE api_keys SET recipients_sealed = '\\x00'")
    assert (await desk.ring.authenticate(secret)).reach == Reach(recipients=frozenset())


async def test_unknown_mistyped_and_altered_keys_are_rejected(desk: Desk) -> None:
    key, secret = await desk.make()
    assert await desk.fault(generate_key(KeyKind.LIVE)[0]) is KeyFault.UNKNOWN
    assert await desk.fault(secret[:-1] + ("x" if secret[-1] != "x" else "y")) is KeyFault.MALFORMED
    # The name of one key with the secret of another, whole with a checksum that fits.
    forged = _with_name(key.public_id)
    assert await desk.fault(forged) is KeyFault.UNKNOWN


def _with_name(name: str) -> str:
    from core.access import api_key_format

    text, parts = generate_key(KeyKind.LIVE)
    body = text.replace(parts.name, name)[:-6]
    return body + api_key_format._checksum(body)


async def test_a_revoked_key_is_rejected_at_once_here_and_within_seconds_elsewhere(
    desk: Desk, app_database: Database, sealer: Sealer
) -> None:
    key, secret = await desk.make()
    elsewhere = ApiKeyVerifier(app_database, sealer, lambda: desk.now)
    for ring in (desk.ring, elsewhere):
        await ring.authenticate(secret)
    await desk.revoke(key)
    desk.ring.forget(key.public_id)
    assert await desk.fault(secret) is KeyFault.REVOKED
    desk.now += CACHE_SECONDS
    with pytest.raises(KeyRefused):
        await elsewhere.authenticate(secret)
    await elsewhere.close()


async def test_a_key_lets_in_until_its_end(desk: Desk, owner: asyncpg.Connection) -> None:
    _, secret = await desk.make(expires_in=timedelta(hours=1))
    assert (await desk.ring.authenticate(secret)).expires_at
    await owner.execute("UPDATE api_keys SET expires_at = now()")
    desk.now += CACHE_SECONDS
    assert await desk.fault(secret) is KeyFault.EXPIRED


async def test_a_key_of_a_deleted_organisation_is_rejected(desk: Desk, owner: asyncpg.Connection) -> None:
    _, secret = await desk.make()
    await owner.execute("UPDATE tenants SET deleted_at = now()")
    try:
        assert await desk.fault(secret) is KeyFault.REVOKED
    finally:
        await owner.execute("UPDATE tenants SET deleted_at = NULL")


async def test_a_scope_this_version_does_not_know_is_none(desk: Desk, owner: asyncpg.Connection) -> None:
    _, secret = await desk.make()
    await owner.execute("UPDATE api_keys SET scopes = '{MESSAGES_READ,PLANETS_WRITE}'")
    assert (await desk.ring.authenticate(secret)).scopes == {Scope.MESSAGES_READ}


async def test_a_key_in_use_is_looked_up_once_in_a_while(desk: Desk, counted: Counted) -> None:
    _, secret = await desk.make()
    for _ in range(50):
        await asyncio.gather(*(desk.ring.authenticate(secret) for _ in range(20)))
    # One for the key and one for its use.
    await desk.ring.close()
    assert counted.asked == 2


async def test_mistyped_keys_ask_the_database_nothing(desk: Desk, counted: Counted) -> None:
    for _ in range(100):
        text, _ = generate_key(KeyKind.LIVE)
        assert await desk.fault(text[:-6] + "000000") is KeyFault.MALFORMED
    assert counted.asked == 0


async def test_a_flood_of_unknown_keys_is_a_handful_of_statements_and_pushes_nothing_out(
    desk: Desk, counted: Counted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api_key_lookup, "CACHE_SIZE", 100)
    desk.ring = ApiKeyVerifier(counted, desk.sealer, lambda: desk.now)  # type: ignore[arg-type]
    _, secret = await desk.make()
    await desk.ring.authenticate(secret)
    await desk.ring.close()
    before = counted.asked
    faults = await asyncio.gather(*(desk.fault(generate_key(KeyKind.LIVE)[0]) for _ in range(2_000)))
    assert set(faults) == {KeyFault.UNKNOWN}
    assert counted.asked - before <= 6
    assert len(desk.ring._unknown) == 100
    await desk.ring.authenticate(secret)
    assert counted.asked - before <= 6


async def test_one_unknown_key_presented_again_and_again_is_asked_for_once(desk: Desk, counted: Counted) -> None:
    unknown, _ = generate_key(KeyKind.LIVE)
    for _ in range(100):
        assert await desk.fault(unknown) is KeyFault.UNKNOWN
    assert counted.asked == 1


async def test_while_the_key_table_is_unavailable_callers_are_asked_to_retry(sealer: Sealer) -> None:
    class Away:
        def transaction(self, *_: object) -> object:
            raise Overloaded("The database cannot be reached.", retry_after=5)

    ring = ApiKeyVerifier(Away(), sealer)  # type: ignore[arg-type]
    text, _ = generate_key(KeyKind.LIVE)
    found = await asyncio.gather(*(ring.authenticate(text) for _ in range(5)), return_exceptions=True)
    assert [type(one) for one in found] == [Overloaded] * 5


async def test_the_last_use_is_written_down_once_a_minute(desk: Desk, owner: asyncpg.Connection) -> None:
    _, secret = await desk.make()

    async def last_use() -> object:
        return await owner.fetchval("SELECT last_used_at FROM api_keys")

    assert await last_use() is None
    await desk.ring.authenticate(secret)
    first = await until(last_use, lambda found: found is not None)
    desk.now += 61
    await desk.ring.authenticate(secret)
    await desk.ring.close()
    # Another process wrote it down within the minute: so this one does not.
    assert await last_use() == first
    await owner.execute("UPDATE api_keys SET last_used_at = now() - interval '61 seconds'")
    desk.now += 61
    await desk.ring.authenticate(secret)
    await desk.ring.close()
    assert await owner.fetchval("SELECT now() - last_used_at < interval '10 seconds' FROM api_keys")


async def test_an_accepted_key_stays_accepted_until_it_is_revoked(desk: Desk) -> None:
    key, secret = await desk.make()
    caller = await desk.ring.authenticate(secret)
    assert await desk.ring.is_believed(caller)
    await desk.revoke(key)
    desk.now += CACHE_SECONDS
    assert not await desk.ring.is_believed(caller)
