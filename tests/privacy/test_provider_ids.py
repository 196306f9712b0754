"""Provider ids: sealed where they are kept, found by a hash that no rotation changes, in clear until the contract."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from alembic.util import CommandError
from redis.asyncio import Redis

from api.migrations import downgrade, head_revision, metadata, upgrade
from core.database import Database, make_engine
from core.masking import encodes_phone_number, pseudonym
from core.messages.provider_ids import holders_of, seal_clear_ids
from core.ports import Channel
from core.ports.identity import DEFAULT_TENANT
from core.privacy.encryption_keys import rotate_keys
from core.pubsub import Hub
from core.sealing import Sealer, prepare_lookups
from tests.databases import SharedStores, Urls
from tests.delivery.pipeline import FakeSender, MessagePipeline, make_pipeline
from tests.privacy.conftest import NUMBER, Life, wamid

OLD, NEW = b"k" * 32, b"n" * 32
WAMID = wamid(NUMBER, "B" * 18)


@dataclass
class PreviousVersion:
    """A database as the previous version left it, with what works on it."""

    urls: Urls
    owner: asyncpg.Connection
    pipeline: MessagePipeline

    async def upgrade(self) -> list[str]:
        return list(await asyncio.to_thread(upgrade, self.urls.direct))

    async def of_the_version_before(self, clear: str, number: int = 1) -> UUID:
        """A message whose attempt the version before wrote down."""
        message = await self.pipeline.accept()
        await self.owner.execute(
            "INSERT INTO attempts (tenant_id, message_id, number, step, channel, integration, token, outcome, rank,"
            " provider_message_id, started_at)"
            " VALUES ($1, $2, $3, 0, 'WHATSAPP', 'whatsapp', 1, 'ACCEPTED', 1, $4, now())",
            DEFAULT_TENANT,
            message,
            number,
            clear,
        )
        return message

    async def found(self, *ids: str) -> dict[str, UUID]:
        async with self.pipeline.worker.transaction() as connection:
            named = await holders_of(connection, self.pipeline.sealer, {("whatsapp", id) for id in ids})
        return {id: holder.key.message_id for (_, id), holder in named.items()}


@pytest.fixture
async def application(stores: SharedStores, sealer: Sealer) -> AsyncIterator[PreviousVersion]:
    async with stores.database() as urls:
        await asyncio.to_thread(downgrade, urls.direct, head_revision())
        owner = await asyncpg.connect(urls.superuser)
        app, worker = Database(make_engine(urls.app)), Database(make_engine(urls.worker))
        await prepare_lookups(worker, sealer)
        async with Redis.from_url(urls.redis) as redis:
            yield PreviousVersion(urls, owner, make_pipeline(app, worker, sealer, Hub(redis), FakeSender()))
        await app.close()
        await worker.close()
        await owner.close()


async def test_the_contract_waits_for_the_backfill_and_for_processes_of_the_version_before(
    application: PreviousVersion,
) -> None:
    sid, sealer = "SM" + "a" * 32, application.pipeline.sealer
    messages = {id: await application.of_the_version_before(id) for id in (WAMID, sid)}
    gone = wamid(NUMBER, "C" * 18)
    messages[gone] = await application.of_the_version_before(pseudonym(sealer, gone))
    await application.owner.execute("INSERT INTO workers (name) VALUES ('old:1')")
    assert await application.found(*messages) == messages, "found before anything is sealed"

    [rows, process] = await application.upgrade()
    assert rows.startswith("3 rows of attempts hold a provider's id in clear")
    assert process.startswith("The process old:1 of the version before was seen")
    assert await seal_clear_ids(application.pipeline.worker, sealer, batch=2) == 3
    assert await seal_clear_ids(application.pipeline.worker, sealer, batch=2) == 0
    # Processes of the version before look for the clear ids still.
    assert await application.owner.fetchval("SELECT count(*) FROM attempts WHERE provider_message_id = $1", WAMID) == 1
    assert len(await application.upgrade()) == 1
    await application.owner.execute("UPDATE workers SET seen_at = now() - interval '2 minutes'")
    assert await application.upgrade() == []

    assert await application.found(*messages) == messages, "found by its hash alone"
    [view] = await application.pipeline.attempts(messages[WAMID])
    assert view.provider_message_id == WAMID
    assert [view.provider_message_id for view in await application.pipeline.attempts(messages[gone])] == [None]
    await nothing_in_clear(application.owner)


async def test_what_the_version_before_would_write_after_the_contract_is_not_kept(application: PreviousVersion) -> None:
    assert await application.upgrade() == []
    await application.of_the_version_before(WAMID)
    await application.owner.execute("UPDATE attempts SET provider_message_id = $1", WAMID)
    await nothing_in_clear(application.owner)


async def test_while_both_versions_run_each_finds_what_the_other_wrote(application: PreviousVersion) -> None:
    message = await application.pipeline.accept()
    await application.pipeline.delivery.drain()
    [view] = await application.pipeline.attempts(message)
    row = await application.owner.fetchrow("SELECT * FROM attempts")
    # The version before knows this column alone.
    assert row["provider_message_id"] == view.provider_message_id == f"SM{message.hex}"
    assert row["provider_id_sealed"] is not None
    theirs = await application.of_the_version_before(WAMID)
    assert await application.found(WAMID) == {WAMID: theirs}


async def test_one_id_held_twice_by_the_version_before_does_not_stop_the_backfill(application: PreviousVersion) -> None:
    await application.owner.execute(
        "CREATE UNIQUE INDEX once ON attempts (integration, provider_id_lookup) WHERE provider_id_lookup IS NOT NULL"
    )
    both = {await application.of_the_version_before(WAMID) for _ in range(2)}
    other = await application.of_the_version_before("SM" + "b" * 32)
    assert await seal_clear_ids(application.pipeline.worker, application.pipeline.sealer) == 3
    found = await application.found(WAMID, "SM" + "b" * 32)
    assert found[WAMID] in both
    assert found["SM" + "b" * 32] == other
    assert await application.upgrade() == []


async def test_one_erased_id_held_twice_does_not_stop_the_contract(application: PreviousVersion) -> None:
    erased = pseudonym(application.pipeline.sealer, WAMID)
    both = {await application.of_the_version_before(erased) for _ in range(2)}
    assert await seal_clear_ids(application.pipeline.worker, application.pipeline.sealer) == 2
    assert (await application.found(WAMID))[WAMID] in both
    assert await application.upgrade() == []


async def test_an_id_that_begins_like_an_erased_one_is_an_id(application: PreviousVersion) -> None:
    ids = ("~", "~queued as 4F", "~" + "0" * 31, "~" + "G" * 32, "~" + "0" * 64, "")
    messages = {id: await application.of_the_version_before(id) for id in ids}
    assert await seal_clear_ids(application.pipeline.worker, application.pipeline.sealer) == len(ids)
    assert await application.upgrade() == []
    for id, message in messages.items():
        [view] = await application.pipeline.attempts(message)
        assert view.provider_message_id == id


@pytest.mark.parametrize("target", ["9999", "-99", "nonsense"])
async def test_a_downgrade_to_nowhere_changes_nothing(application: PreviousVersion, target: str) -> None:
    assert await application.upgrade() == []
    with pytest.raises(CommandError):
        await asyncio.to_thread(downgrade, application.urls.direct, target)
    assert await application.owner.fetchval("SELECT count(*) FROM contracts") == 1


async def test_the_hash_stays_when_the_keys_change(life: Life) -> None:
    message = await life.send(NUMBER, "Oi", Channel.WHATSAPP)
    await life.deliver(Channel.WHATSAPP, "whatsapp")
    before = await life.owner.fetchval("SELECT provider_id_lookup FROM attempts")
    async for step in rotate_keys(life.pipeline.worker, Sealer({"k2": NEW, "k1": OLD}), metadata):
        assert step.unreadable == 0
    # As a process that starts with the new key alone.
    life.pipeline.sealer = Sealer({"k2": NEW})
    await prepare_lookups(life.pipeline.worker, life.pipeline.sealer)
    assert await life.owner.fetchval("SELECT provider_id_lookup FROM attempts") == before
    [view] = await life.pipeline.attempts(message)
    assert encodes_phone_number(str(view.provider_message_id))
    raw = '{"statuses": []}'
    await life.told("whatsapp", life.reported(str(view.provider_message_id), raw, None))
    await life.apply()
    assert await life.pipeline.status(message) == "DELIVERED"


async def test_nothing_that_is_stored_spells_a_number(life: Life) -> None:
    await life.send(NUMBER, "Oi", Channel.WHATSAPP)
    await life.deliver(Channel.WHATSAPP, "whatsapp")
    message = (await life.owner.fetchrow("SELECT id FROM messages"))["id"]
    await life.report(message, NUMBER)
    await life.written(NUMBER, "Oi", WAMID)
    await nothing_in_clear(life.owner)
    tables = await life.owner.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    for name in (row["tablename"] for row in tables):
        for row in await life.owner.fetch(f"SELECT t::text AS whole FROM {name} t"):
            assert not encodes_phone_number(row["whole"]), (name, row["whole"])


async def nothing_in_clear(owner: Any) -> None:
    for table in ("attempts", "messages"):
        assert await owner.fetchval(f"SELECT count(*) FROM {table} WHERE provider_message_id IS NOT NULL") == 0
