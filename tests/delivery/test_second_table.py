"""What claims, leases, fences and tries messages does so for a second table: see `second_table.py`."""

import random
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import timedelta

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from core.claims import Key, postpone
from core.database import Database
from tests.databases import Urls
from tests.delivery.round_trips import round_trips
from tests.delivery.second_table import CALLS, Call, Ledger, begin, claim, reclaim, record, release, second_table


@pytest.fixture
async def ledger(urls: Urls) -> AsyncIterator[Ledger]:
    async with second_table(urls.direct) as found:
        yield found


async def test_two_workers_claim_different_rows_and_share_them_between_tenants(
    ledger: Ledger, worker_database: Database
) -> None:
    keys = await ledger.add(8)
    async with worker_database.transaction() as first, worker_database.transaction() as second:
        ours = [one.key for one in await claim(first, "first", limit=4)]
        theirs = [one.key for one in await claim(second, "second", limit=4)]
    async with worker_database.transaction() as connection:
        assert await claim(connection, "third") == []
    assert sorted(ours + theirs) == sorted(keys)
    assert Counter(tenant for tenant, _ in ours) == Counter(ledger.tenants * 2)


async def test_a_worker_that_lost_its_lease_neither_begins_nor_records(
    ledger: Ledger, worker_database: Database
) -> None:
    [key] = await ledger.add(1)
    async with worker_database.transaction() as connection:
        slow = await claim(connection, "slow")
    await ledger.let_expire(key)
    async with worker_database.transaction() as connection:
        # Nothing is begun that the lease may not outlast, and what was lost is claimed by another worker.
        assert await begin(connection, slow) == []
        assert await reclaim(connection) == [key]
        quick = await claim(connection, "quick")
    async with worker_database.transaction() as connection:
        assert (await begin(connection, slow), await record(connection, slow)) == ([], [])
        await release(connection, slow, [0.0])
        assert await begin(connection, quick) == quick
    assert quick[0].token > slow[0].token
    assert await ledger.attempts() == [(1, True)]
    async with worker_database.transaction() as connection:
        assert await record(connection, quick) == quick
    assert await ledger.statuses() == {key: "DONE"}


async def test_of_lost_rows_those_not_begun_are_due_again_and_the_others_are_not(
    ledger: Ledger, worker_database: Database
) -> None:
    await ledger.add(2)
    async with worker_database.transaction() as connection:
        begun, unbegun = await claim(connection, "dead")
        await begin(connection, [begun])
    await ledger.let_expire(begun.key, unbegun.key)
    async with worker_database.transaction() as connection:
        await reclaim(connection)
        again = await claim(connection, "living")
    assert [(one.key, one.attempt) for one in again] == [(unbegun.key, 1)]
    assert await ledger.statuses() == {begun.key: "LOST", unbegun.key: "WAITING"}


async def test_postponed_and_released_rows_are_claimed_when_they_are_due_and_count_no_attempt(
    ledger: Ledger, worker_database: Database
) -> None:
    postponed, released = await ledger.add(2)
    async with worker_database.transaction() as connection:
        await postpone(connection, CALLS, [postponed], timedelta(minutes=1))
        claimed = await claim(connection, "worker")
        await release(connection, claimed, [60.0])
        assert [one.key for one in claimed] == [released]
        assert await claim(connection, "worker") == []
    assert await ledger.attempts() == []
    await ledger.make_due()
    async with worker_database.transaction() as connection:
        again = await claim(connection, "worker")
    assert {(one.key, one.attempt) for one in again} == {(postponed, 1), (released, 1)}


async def test_claiming_and_beginning_are_one_statement_each_regardless_of_the_number_of_rows(
    ledger: Ledger, worker_database: Database
) -> None:
    for number in (1, 20):
        keys = await ledger.add(number)
        async with round_trips(worker_database) as seen, worker_database.transaction() as connection:
            claimed = await claim(connection, "worker", limit=50)
            assert await begin(connection, claimed) == claimed
        # To begin and to commit the transaction, too.
        assert (len(claimed), len(seen)) == (len(keys), 4), seen


ENDED = {"DONE", "LOST"}


@dataclass
class Worker:
    """Takes one step at a time: claims, begins what it claimed, does the work, records it."""

    name: str
    topic: str
    done: Counter[Key]
    claimed: list[Call] = field(default_factory=list)
    begun: list[Call] = field(default_factory=list)
    worked: list[Call] = field(default_factory=list)
    refused: int = 0

    @property
    def is_busy(self) -> bool:
        return bool(self.claimed or self.begun or self.worked)

    async def step(self, connection: AsyncConnection, chance: random.Random) -> None:
        if self.worked:
            recorded = await record(connection, self.worked)
            self.refused += len(self.worked) - len(recorded)
            self.worked = []
        elif self.begun:
            self.done.update(one.key for one in self.begun)
            self.worked, self.begun = self.begun, []
        elif self.claimed and chance.random() < 0.2:
            await release(connection, self.claimed, [0.0] * len(self.claimed))
            self.claimed = []
        elif self.claimed:
            self.begun = await begin(connection, self.claimed)
            self.refused += len(self.claimed) - len(self.begun)
            self.claimed = []
        else:
            self.claimed = await claim(connection, self.name, limit=chance.randint(1, 3), topic=self.topic)


@pytest.mark.slow
async def test_no_row_is_worked_on_twice_in_200_orders_of_the_steps_of_workers_and_lost_leases(
    ledger: Ledger, worker_database: Database
) -> None:
    ends, refused = Counter[str](), 0
    # One step after another: each statement commits by itself, and a seed that fails can be repeated.
    async with worker_database.engine.connect() as connection:
        for seed in range(200):
            chance, topic, done = random.Random(seed), f"{seed}", Counter[Key]()
            keys = await ledger.add(3, topic=topic)
            workers = [Worker(name, topic, done) for name in ("first", "second")]
            while any(one.is_busy for one in workers) or not ENDED.issuperset((await ledger.statuses(topic)).values()):
                if chance.random() < 0.15:
                    await ledger.let_expire(*chance.sample(keys, 2))
                    await reclaim(connection)
                else:
                    await chance.choice(workers).step(connection, chance)
            statuses = await ledger.statuses(topic)
            assert max(done.values(), default=0) <= 1, (seed, done)
            assert {key for key, status in statuses.items() if status == "DONE"} <= set(done), seed
            ends.update(statuses.values())
            refused += sum(one.refused for one in workers)
    # All of it has happened: rows that were done, rows lost after they were begun, and claims that came too late.
    assert min(ends["DONE"], ends["LOST"], refused) > 50, (ends, refused)
