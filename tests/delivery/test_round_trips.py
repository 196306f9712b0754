"""What a delivered batch costs in words to the stores: counts, since a clock would measure the machine."""

import asyncio

import pytest
from redis.asyncio import Redis
from redis.asyncio.client import Pipeline

from core.flow.values import Outcomes
from tests.delivery.conftest import Shop
from tests.delivery.gates import NewGate
from tests.delivery.trips import round_trips

# Each to begin, to do, to commit; the record locks, reads attempts, and writes messages, attempts and events.
CLAIM, BEGIN, RECORD, NOTHING_LEFT = 3, 3, 7, 3


@pytest.mark.parametrize("size", [1, 10, 50])
async def test_a_batch_is_delivered_in_as_many_round_trips_whatever_its_size(shop: Shop, size: int) -> None:
    ids = await asyncio.gather(*(shop.accept(body=f"{number}") for number in range(size)))
    shop.sender.gate.clear()
    async with round_trips(shop.worker) as seen:
        draining = asyncio.create_task(shop.courier.drain())
        while len(shop.sender.sent) < size:
            await asyncio.sleep(0)
        # All answers come at once, as one batch.
        shop.sender.gate.set()
        await draining
    assert {await shop.status(one) for one in ids} == {"SENT"}
    assert len(seen) == CLAIM + BEGIN + RECORD + NOTHING_LEFT, seen


async def test_valkey_is_asked_before_and_told_after_a_batch_and_not_for_each_message(
    shop: Shop, new_gate: NewGate, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(30):
        await shop.accept(body=f"{number}")
    shop.courier.gate = new_gate()
    # The store learns the scripts first, once for all.
    allowance = await shop.courier.gate.allow(1)
    await shop.courier.gate.give_back(allowance, 1)
    await shop.courier.gate.report(Outcomes(allowance.ticket, successes=1))
    said: list[str] = []
    usual = Redis.execute_command

    async def noted(self: Redis, *arguments: str, **options: object) -> object:
        said.append(arguments[0])
        return await usual(self, *arguments, **options)

    asked_together = Pipeline.pipeline_execute_command

    def noted_too(self: Pipeline, *arguments: str, **options: object) -> object:
        said.append(arguments[0])
        return asked_together(self, *arguments, **options)

    monkeypatch.setattr(Redis, "execute_command", noted)
    monkeypatch.setattr(Pipeline, "pipeline_execute_command", noted_too)
    await shop.courier.drain()
    assert len(shop.sender.sent) == 30
    # Asked what may go, and at last whether more may; what was not used is given back; the end is told of.
    assert sorted(said) == [*["EVALSHA"] * 5, *["PUBLISH"] * 2]
