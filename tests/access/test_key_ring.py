"""From an API key to a principal: which are accepted, and how few statements it takes."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta

import asyncpg
import pytest

from core.access import api_key_lookup, api_keys
from core.access.api_key_lookup import CACHE_SECONDS, ApiKeyVerifier, KeyFault, KeyKind, KeyRefused, generate_key
from core.access.api_keys import ApiKey, NewKey
from core.addresses import email_address, phone_address
from core.database import Database
from core.errors import Overloaded
from core.ports.identity import DEFAULT_TENANT, UNRESTRICTED, ActorKind, Principal, Reach, Scope
from core.sealing import Sealer
from tests.databases import Urls
from tests.helpers import until

READ = frozenset({Scope.MESSAGES_READ, Scope.MESSAGES_SEND})
ANA = phone_address("+5511987654321", path=[])
BIA = email_address("Bia@Example.com", path=[])


@dataclass
class KeyChecks:
    """Keys of one database, the key ring that reads them, and a stopped clock."""

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
async def checks(app_database: Database, sealer: Sealer) -> AsyncIterator[KeyChecks]:
    made = KeyChecks(app_database, sealer, None)  # type: ignore[arg-type]
    made.ring = ApiKeyVerifier(app_database, sealer, lambda: made.now)
    yield made
    await made.ring.close()


@pytest.fixture
def counted(checks: KeyChecks) -> Counted:
    """The key ring over a database that counts statements."""
    found = Counted(checks.database)
    checks.ring = ApiKeyVerifier(found, checks.sealer, lambda: checks.now)  # type: ignore[arg-type]
    return found


@pytest.fixture
async def owner(urls: Urls) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(urls.direct)
    yield connection
    await connection.close()


async def test_a_key_lets_its_server_in_with_its_scopes_and_no_others(checks: KeyChecks) -> None:
    key, secret = await checks.make()
    found = await checks.ring.authenticate(secret)
    assert found == Principal(DEFAULT_TENANT, f"key:{key.public_id}", READ, api_key=key.id, kind=ActorKind.KEY)


async def test_each_kind_reaches_whom_it_may(checks: KeyChecks) -> None:
    _, live = await checks.make()
    _, allowed = await checks.make(KeyKind.ALLOW_LIST, recipients=[ANA, BIA])
    _, test = await checks.make(KeyKind.TEST)
    reaches = [(await checks.ring.authenticate(one)).reach for one in (live, allowed, test)]
    named = frozenset({"+5511987654321", "Bia@example.com"})
    assert reaches == [UNRESTRICTED, Reach(recipients=named), Reach(simulated_only=True)]


async def test_no_key_and_no_allow_list_entry_is_readable_in_the_database(
    checks: KeyChecks, owner: asyncpg.Connection
) -> None:
    _, secret = await checks.make(KeyKind.ALLOW_LIST, recipients=[ANA])
    row = await owner.fetchrow("SELECT api_keys::text AS text, recipients_masked FROM api_keys")
    assert secret[-49:-6] not in row["text"]
    assert "987654321" not in row["text"]
    assert row["recipients_masked"] == ["+55 11 9••••-4321"]


async def test_an_unreadable_allow_list_allows_no_recipient(checks: KeyChecks, owner: asyncpg.Connection) -> None:
    _, secret = await checks.make(KeyKind.ALLOW_LIST, recipients=[ANA])
    await owner.execute("UPDATE api_keys SET recipients_sealed = '\\x00'")
    assert (await checks.ring.authenticate(secret)).reach == Reach(recipients=frozenset())


async def test_unknown_mistyped_and_altered_keys_are_rejected(checks: KeyChecks) -> None:
    key, secret = await checks.make()
    assert await checks.fault(generate_key(KeyKind.LIVE)[0]) is KeyFault.UNKNOWN
    assert await checks.fault(secret[:-1] + ("x" if secret[-1] != "x" else "y")) is KeyFault.MALFORMED
    # The name of one key with the secret of another, whole with a checksum that fits.
    forged = _with_name(key.public_id)
    assert await checks.fault(forged) is KeyFault.UNKNOWN


def _with_name(name: str) -> str:
    from core.access import api_key_lookup as api_key_format

    text, parts = generate_key(KeyKind.LIVE)
    body = text.replace(parts.name, name)[:-6]
    return body + api_key_format._checksum(body)


async def test_a_revoked_key_is_rejected_at_once_here_and_within_seconds_elsewhere(
    checks: KeyChecks, app_database: Database, sealer: Sealer
) -> None:
    key, secret = await checks.make()
    elsewhere = ApiKeyVerifier(app_database, sealer, lambda: checks.now)
    for ring in (checks.ring, elsewhere):
        await ring.authenticate(secret)
    await checks.revoke(key)
    checks.ring.forget(key.public_id)
    assert await checks.fault(secret) is KeyFault.REVOKED
    checks.now += CACHE_SECONDS
    with pytest.raises(KeyRefused):
        await elsewhere.authenticate(secret)
    await elsewhere.close()


async def test_a_key_lets_in_until_its_end(checks: KeyChecks, owner: asyncpg.Connection) -> None:
    _, secret = await checks.make(expires_in=timedelta(hours=1))
    assert (await checks.ring.authenticate(secret)).expires_at
    await owner.execute("UPDATE api_keys SET expires_at = now()")
    checks.now += CACHE_SECONDS
    assert await checks.fault(secret) is KeyFault.EXPIRED


async def test_a_key_of_a_deleted_organisation_is_rejected(checks: KeyChecks, owner: asyncpg.Connection) -> None:
    _, secret = await checks.make()
    await owner.execute("UPDATE tenants SET deleted_at = now()")
    try:
        assert await checks.fault(secret) is KeyFault.REVOKED
    finally:
        await owner.execute("UPDATE tenants SET deleted_at = NULL")


async def test_a_scope_this_version_does_not_know_is_none(checks: KeyChecks, owner: asyncpg.Connection) -> None:
    _, secret = await checks.make()
    await owner.execute("UPDATE api_keys SET scopes = '{MESSAGES_READ,PLANETS_WRITE}'")
    assert (await checks.ring.authenticate(secret)).scopes == {Scope.MESSAGES_READ}


async def test_a_key_in_use_is_looked_up_once_in_a_while(checks: KeyChecks, counted: Counted) -> None:
    _, secret = await checks.make()
    for _ in range(50):
        await asyncio.gather(*(checks.ring.authenticate(secret) for _ in range(20)))
    # One for the key and one for its use.
    await checks.ring.close()
    assert counted.asked == 2


async def test_mistyped_keys_ask_the_database_nothing(checks: KeyChecks, counted: Counted) -> None:
    for _ in range(100):
        text, _ = generate_key(KeyKind.LIVE)
        assert await checks.fault(text[:-6] + "000000") is KeyFault.MALFORMED
    assert counted.asked == 0


async def test_a_flood_of_unknown_keys_is_a_handful_of_statements_and_pushes_nothing_out(
    checks: KeyChecks, counted: Counted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api_key_lookup, "CACHE_SIZE", 100)
    checks.ring = ApiKeyVerifier(counted, checks.sealer, lambda: checks.now)  # type: ignore[arg-type]
    _, secret = await checks.make()
    await checks.ring.authenticate(secret)
    await checks.ring.close()
    before = counted.asked
    faults = await asyncio.gather(*(checks.fault(generate_key(KeyKind.LIVE)[0]) for _ in range(2_000)))
    assert set(faults) == {KeyFault.UNKNOWN}
    assert counted.asked - before <= 6
    assert len(checks.ring._unknown) == 100
    await checks.ring.authenticate(secret)
    assert counted.asked - before <= 6


async def test_one_unknown_key_presented_again_and_again_is_asked_for_once(checks: KeyChecks, counted: Counted) -> None:
    unknown, _ = generate_key(KeyKind.LIVE)
    for _ in range(100):
        assert await checks.fault(unknown) is KeyFault.UNKNOWN
    assert counted.asked == 1


async def test_while_the_key_table_is_unavailable_callers_are_asked_to_retry(sealer: Sealer) -> None:
    class Away:
        def transaction(self, *_: object) -> object:
            raise Overloaded("The database cannot be reached.", retry_after=5)

    ring = ApiKeyVerifier(Away(), sealer)  # type: ignore[arg-type]
    text, _ = generate_key(KeyKind.LIVE)
    found = await asyncio.gather(*(ring.authenticate(text) for _ in range(5)), return_exceptions=True)
    assert [type(one) for one in found] == [Overloaded] * 5


async def test_the_last_use_is_written_down_once_a_minute(checks: KeyChecks, owner: asyncpg.Connection) -> None:
    _, secret = await checks.make()

    async def last_use() -> object:
        return await owner.fetchval("SELECT last_used_at FROM api_keys")

    assert await last_use() is None
    await checks.ring.authenticate(secret)
    first = await until(last_use, lambda found: found is not None)
    checks.now += 61
    await checks.ring.authenticate(secret)
    await checks.ring.close()
    # Another process wrote it down within the minute: so this one does not.
    assert await last_use() == first
    await owner.execute("UPDATE api_keys SET last_used_at = now() - interval '61 seconds'")
    checks.now += 61
    await checks.ring.authenticate(secret)
    await checks.ring.close()
    assert await owner.fetchval("SELECT now() - last_used_at < interval '10 seconds' FROM api_keys")


async def test_an_accepted_key_stays_accepted_until_it_is_revoked(checks: KeyChecks) -> None:
    key, secret = await checks.make()
    caller = await checks.ring.authenticate(secret)
    assert await checks.ring.is_still_valid(caller)
    await checks.revoke(key)
    checks.now += CACHE_SECONDS
    assert not await checks.ring.is_still_valid(caller)
