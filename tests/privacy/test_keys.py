"""Sealing anew under another key: every column, during normal operation, until the old key can be removed."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import Column, LargeBinary, Table, Uuid

from api.cli import interalpha
from api.migrations import metadata
from core.access.directory import Profile, open_profile, seal_profile
from core.errors import IdempotencyConflict
from core.ids import uuid7
from core.messages.provider_ids import holders_of
from core.messages.status import make_step
from core.messages.validation import Draft
from core.ports import Channel, TextContent
from core.ports.identity import DEFAULT_TENANT
from core.privacy.encryption_keys import FINGERPRINTS, count_by_key, rotate_keys
from core.privacy.erase import run_erasure_step
from core.sealing import Sealer, prepare_lookups, sealed_tables
from tests.cli.processes import run_interalpha
from tests.contributed import PERSONAL_DATA
from tests.databases import ENCRYPTION_KEY, Urls
from tests.privacy.conftest import MAIL, NEEDLES, NUMBER, OTHER_NUMBER, WORDS, Life, wamid
from tests.privacy.storage_scan import found_anywhere

OLD, NEW = b"k" * 32, b"n" * 32
BOTH, ONLY_NEW = Sealer({"k2": NEW, "k1": OLD}), Sealer({"k2": NEW})
NEW_KEY = "bm5ubm5ubm5ubm5ubm5ubm5ubm5ubm5ubm5ubm5ubm4="
HASHES_OF_THEIR_OWN = {
    "idempotency_keys.request_hash": "of a request, whose words are not kept: its key is in it",
    "attempts.provider_id_lookup": "of a provider's id, by a key that is never rotated",
    "messages.provider_id_lookup": "the same of a message that came in",
    "api_keys.secret_hash": "of 256 random bits, without a key: nobody can guess them",
}
"""Columns of bytes that are neither sealed nor the hash beside a sealed one, and why."""


async def rotated(life: Life, batch: int = 2) -> dict[str, int]:
    done: dict[str, int] = {}
    async for one in rotate_keys(life.pipeline.worker, BOTH, metadata, batch=batch):
        assert one.unreadable == 0
        done[one.table] = done.get(one.table, 0) + one.sealed
    return done


async def under(life: Life) -> dict[str, dict[str | None, int]]:
    return {one.place: dict(one.values) for one in await count_by_key(life.pipeline.worker, metadata) if one.values}


async def some_of_everything(life: Life) -> UUID:
    """At least one value in every sealed column there is."""
    for place in range(3):
        await life.send(NUMBER, f"{WORDS} {place}", idempotency_key=f"{place}")
    await life.deliver()
    await life.written(NUMBER, WORDS, wamid(NUMBER, "A" * 18))
    await life.ask_to_erase("+5511900000000")
    await life.listed(OTHER_NUMBER)
    user = uuid7()
    sealed = seal_profile(life.pipeline.sealer, user, Profile(name="Maria"))
    await life.owner.execute("INSERT INTO users (id, subject, profile_sealed) VALUES ($1, 'user_m', $2)", user, sealed)
    found: UUID = await life.owner.fetchval("SELECT id FROM messages WHERE direction = 'OUTBOUND' LIMIT 1")
    return found


def test_every_column_of_bytes_is_sealed_or_belongs_to_one_that_is() -> None:
    """A new one that holds anything else is to be added above, with its reason."""
    rotated = {one.column for table in sealed_tables(metadata) for one in table.columns}
    hashes = {one.hash for table in sealed_tables(metadata) for one in table.columns}
    left = {
        f"{table.name}.{column.name}"
        for table in metadata.tables.values()
        for column in table.columns
        if isinstance(column.type, LargeBinary) and column not in rotated | hashes
    }
    assert left == HASHES_OF_THEIR_OWN.keys()


async def test_the_worker_may_seal_anew_every_sealed_column(life: Life) -> None:
    for table in sealed_tables(metadata):
        for one in table.columns:
            for column in filter(None, (one.column.name, one.hash.name if one.hash is not None else None)):
                asked = "SELECT has_column_privilege('interalpha_worker', $1, $2, 'UPDATE')"
                assert await life.owner.fetchval(asked, table.table.name, column), (table.table.name, column)


async def test_afterwards_the_old_key_can_go(life: Life) -> None:
    one = await some_of_everything(life)
    columns = {f"{table.table.name}.{c.column.name}" for table in sealed_tables(metadata) for c in table.columns}
    before = await under(life)
    assert before.keys() - {FINGERPRINTS} == columns, "a sealed column without a value proves nothing here"
    assert {name for values in before.values() for name in values} == {"k1"}
    done = await rotated(life)
    assert sum(done.values()) == sum(sum(v.values()) for place, v in before.items() if place != FINGERPRINTS)
    after = await under(life)
    assert {name for place, values in after.items() if place != FINGERPRINTS for name in values} == {"k2"}
    life.pipeline.sealer = ONLY_NEW
    assert (await life.pipeline.message(one)).to == NUMBER
    user = await life.owner.fetchrow("SELECT id, profile_sealed FROM users")
    assert open_profile(ONLY_NEW, user["id"], user["profile_sealed"]).name == "Maria"
    # The hash beside an address was updated with it: it is found by the new key alone.
    await life.erase(NUMBER)
    await life.owner.execute("DELETE FROM erasures")
    assert await found_anywhere(life.owner, life.redis, ONLY_NEW, NEEDLES) == []


@pytest.fixture
async def parcels(life: Life) -> AsyncIterator[Table]:
    """The table of a noun that is added at run-time, in the database and in the metadata."""
    table = Table(
        "parcels",
        metadata,
        Column("tenant_id", Uuid, primary_key=True),
        Column("id", Uuid, primary_key=True),
        Column("recipient_sealed", LargeBinary),
        Column("recipient_hash", LargeBinary),
    )
    try:
        await life.owner.execute(
            "CREATE TABLE parcels (tenant_id uuid, id uuid, recipient_sealed bytea, recipient_hash bytea,"
            " PRIMARY KEY (tenant_id, id)); GRANT SELECT, UPDATE ON parcels TO interalpha_worker"
        )
        yield table
    finally:
        metadata.remove(table)
        await life.owner.execute("DROP TABLE IF EXISTS parcels")


async def test_the_table_of_a_noun_that_is_added_at_run_time_is_rotated_and_counted(life: Life, parcels: Table) -> None:
    ids, old = [uuid7() for _ in range(3)], life.pipeline.sealer
    for id in ids:
        sealed = old.seal(NUMBER, tenant=DEFAULT_TENANT, row=id, column="recipient")
        hashed = old.lookup_hash(NUMBER, tenant=DEFAULT_TENANT)
        await life.owner.execute("INSERT INTO parcels VALUES ($1, $2, $3, $4)", DEFAULT_TENANT, id, sealed, hashed)
    assert (await under(life))["parcels.recipient_sealed"] == {"k1": 3}
    assert (await rotated(life))[parcels.name] == 3
    assert (await under(life))["parcels.recipient_sealed"] == {"k2": 3}
    for row in await life.owner.fetch("SELECT * FROM parcels"):
        opened = ONLY_NEW.open(row["recipient_sealed"], tenant=DEFAULT_TENANT, row=row["id"], column="recipient")
        assert (opened, row["recipient_hash"]) == (NUMBER, ONLY_NEW.lookup_hash(NUMBER, tenant=DEFAULT_TENANT))


async def test_the_command_covers_every_sealed_column_in_a_process_of_its_own(
    life: Life, urls: Urls, tmp_path: Path
) -> None:
    """A process knows the tables of the modules that it imported: the command has to import them all."""
    settings = {"DATABASE_URL": urls.app, "DATABASE_URL_WORKER": urls.worker, "REDIS_URL": urls.redis}
    keys = f"k1:{ENCRYPTION_KEY}"
    run = partial(run_interalpha, tmp_path, ENCRYPTION_KEYS=keys, **settings)
    ended = await asyncio.to_thread(run, "keys", "status", "--json")
    assert ended.returncode == 0, ended.stderr
    columns = {f"{table.table.name}.{one.column.name}" for table in sealed_tables(metadata) for one in table.columns}
    assert json.loads(ended.stdout)["values"].keys() - {FINGERPRINTS} == columns


async def test_a_mailbox_with_capitals_is_found_by_its_new_hash(life: Life) -> None:
    await life.send("Maria.Quitanda@example.com", WORDS, Channel.EMAIL)
    await rotated(life)
    life.pipeline.sealer = ONLY_NEW
    assert (await life.erase(MAIL)).messages == 1


async def test_a_second_time_there_is_nothing_to_do(life: Life) -> None:
    await some_of_everything(life)
    await rotated(life)
    assert await rotated(life) == {}


async def test_a_rotation_that_was_ended_in_the_middle_is_continued(life: Life) -> None:
    await some_of_everything(life)
    total = sum(sum(values.values()) for place, values in (await under(life)).items() if place != FINGERPRINTS)
    steps = rotate_keys(life.pipeline.worker, BOTH, metadata, batch=1)
    first = [await anext(steps) for _ in range(3)]
    await steps.aclose()
    rest = await rotated(life)
    assert sum(one.sealed for one in first) + sum(rest.values()) == total


async def test_while_it_goes_on_messages_are_taken_sent_and_erased(life: Life) -> None:
    for place in range(20):
        await life.send(NUMBER, f"{WORDS} {place}")
    newcomers = Sealer({"k2": NEW, "k1": OLD})
    life.pipeline.outbox.sealer = life.pipeline.sealer = newcomers
    await life.ask_to_erase(NUMBER)

    async def turn() -> None:
        async for _ in rotate_keys(life.pipeline.worker, BOTH, metadata, batch=1):
            await asyncio.sleep(0)

    async def live() -> None:
        for place in range(10):
            await life.send("+5511911112222", f"carambola {place}")
            await run_erasure_step(life.pipeline.worker, newcomers, life.pipeline.hub, PERSONAL_DATA, batch=2)

    await asyncio.gather(turn(), live())
    await life.erase(NUMBER)
    values = await under(life)
    assert values["messages.to_sealed"] == {"k2": 10}
    assert await life.pipeline.count("messages WHERE content_sealed IS NULL") == 20


async def test_a_person_is_found_under_either_key_meanwhile(life: Life) -> None:
    await life.send(NUMBER, WORDS)
    life.pipeline.outbox.sealer = life.pipeline.sealer = BOTH
    await life.send(NUMBER, WORDS)
    assert (await life.erase(NUMBER)).messages == 2


async def test_an_event_sent_again_is_recognised_under_either_key(life: Life) -> None:
    await life.written(NUMBER, WORDS, wamid(NUMBER, "A" * 18))
    life.pipeline.sealer = BOTH
    await life.written(NUMBER, WORDS, wamid(NUMBER, "A" * 18))
    assert (await life.pipeline.count("inbox"), await life.pipeline.count("messages")) == (1, 1)


async def test_a_request_is_the_same_under_either_key_and_no_more_without_the_old_one(life: Life) -> None:
    first = await life.send(NUMBER, WORDS, idempotency_key="one")
    life.pipeline.outbox.sealer = BOTH
    assert await life.send(NUMBER, WORDS, idempotency_key="one") == first
    life.pipeline.outbox.sealer = ONLY_NEW
    draft = Draft(TextContent(WORDS), [make_step(Channel.SMS)], phone=NUMBER, idempotency_key="one")
    with pytest.raises(IdempotencyConflict):
        await life.pipeline.outbox.accept(DEFAULT_TENANT, draft)
    # Which is why they are counted: the old key may go once none is left under it.
    assert (await under(life))[FINGERPRINTS] == {"k1": 1}


async def test_an_unreadable_value_is_counted_and_left_unchanged(life: Life) -> None:
    await life.send(NUMBER, WORDS)
    await life.owner.execute("UPDATE messages SET content_sealed = set_byte(content_sealed, 20, 1)")
    steps = [one async for one in rotate_keys(life.pipeline.worker, BOTH, metadata)]
    assert sum(one.unreadable for one in steps) == 1
    assert (await under(life))["messages.content_sealed"] == {"k1": 1}


async def test_the_commands_do_and_say_all_of_this(
    life: Life, urls: Urls, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: object
) -> None:
    await some_of_everything(life)
    for name, value in {
        "DATABASE_URL": urls.app,
        "DATABASE_URL_WORKER": urls.worker,
        "REDIS_URL": urls.redis,
        "ENCRYPTION_KEYS": f"k2:{NEW_KEY},k1:{ENCRYPTION_KEY}",
        "INTERALPHA_HOME": str(tmp_path),
    }.items():
        monkeypatch.setenv(name, value)

    async def said(*words: str) -> str:
        await asyncio.to_thread(interalpha.main, list(words), standalone_mode=False)
        return capfd.readouterr().out

    assert "k1 is still needed: interalpha keys rotate" in await said("keys", "status")
    monkeypatch.setenv("ENCRYPTION_KEYS", f"k2:{NEW_KEY}")
    assert await asyncio.to_thread(interalpha.main, ["keys", "status"], standalone_mode=False) == 1
    assert "Values lie under k1, which is not in ENCRYPTION_KEYS" in " ".join(capfd.readouterr().err.split())
    assert json.loads(await said("keys", "status", "--json"))["missing"] == ["k1"]
    monkeypatch.setenv("ENCRYPTION_KEYS", f"k2:{NEW_KEY},k1:{ENCRYPTION_KEY}")
    assert "sealed anew under k2" in await said("keys", "rotate")
    shown = await said("keys", "status")
    assert len({len(place) for place in re.findall(r"^\w+\.\w+ +", shown, re.MULTILINE)}) == 1
    assert "✓ Every sealed value lies under k2." in shown
    assert "3 idempotency keys were fingerprinted under another key" in shown
    told = json.loads(await said("keys", "status", "--json"))
    assert (told["current"], told["values"]["users.profile_sealed"]) == ("k2", {"k2": 1})
    acts = await life.owner.fetch("SELECT kind, action FROM audit_events")
    assert [(act["kind"], act["action"]) for act in acts] == [("CLI", "keys rotate")]


async def test_a_lost_look_up_secret_is_replaced_and_later_ids_are_found(
    life: Life, urls: Urls, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """The key it lay under is gone for good: new ids are hashed with a new secret, and the loss is written down."""
    old = await life.send(NUMBER, WORDS)
    await life.deliver()
    for name, value in {
        "DATABASE_URL": urls.app,
        "DATABASE_URL_WORKER": urls.worker,
        "REDIS_URL": urls.redis,
        "ENCRYPTION_KEYS": f"k2:{NEW_KEY}",
        "INTERALPHA_HOME": str(tmp_path),
    }.items():
        monkeypatch.setenv(name, value)
    before = await life.owner.fetchval("SELECT secret_sealed FROM lookup_keys")

    def run(*words: str) -> tuple[int | None, str]:
        ended = interalpha.main(list(words), standalone_mode=False)
        return ended, " ".join("".join(capfd.readouterr()).split())

    ended, said = await asyncio.to_thread(run, "keys", "new-lookup")
    assert (ended, "Add --yes" in said) == (1, True)
    assert await life.owner.fetchval("SELECT secret_sealed FROM lookup_keys") == before
    ended, said = await asyncio.to_thread(run, "keys", "new-lookup", "--yes")
    assert (ended, "Restart the workers" in said) == (None, True), said
    # As a worker that was started afterwards.
    life.pipeline.outbox.sealer = life.pipeline.sealer = Sealer({"k2": NEW})
    await prepare_lookups(life.pipeline.worker, life.pipeline.sealer)
    new = await life.send(NUMBER, WORDS)
    await life.deliver()
    async with life.pipeline.worker.transaction() as connection:
        named = await holders_of(
            connection, life.pipeline.sealer, {("twilio", f"SM{message.hex}") for message in (old, new)}
        )
    assert {holder.key.message_id for holder in named.values()} == {new}
    acts = await life.owner.fetch("SELECT action FROM audit_events WHERE kind = 'CLI'")
    assert [act["action"] for act in acts] == ["keys new-lookup"]
