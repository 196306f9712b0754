"""The round trips to the stores that a delivered batch costs: counted, because a clock would measure the machine."""

import asyncio

import pytest
from redis.asyncio import Redis
from redis.asyncio.client import Pipeline
from sqlalchemy import text

from core.messages.claim import Timing, begin, claim
from core.ports import Channel, Pace
from core.providers.circuit import CallOutcomes
from tests.delivery.limiters import NewLimiter
from tests.delivery.pipeline import MessagePipeline
from tests.delivery.round_trips import round_trips

# Each to begin, to do, to commit; the record locks, reads attempts, and writes messages, attempts and events in one go.
CLAIM, RECORD, NOTHING_LEFT = 3, 5, 3
# Where single recipients are paced, only those whose turn it is begin, in a transaction of their own.
BEGIN = 3
TIMING = Timing()
PACED = Pace(1000, burst=1000, recipient_interval=6.0, recipient_burst=45)


@pytest.mark.parametrize(
    ("size", "pace", "begin_apart"), [(1, None, 0), (10, None, 0), (50, None, 0), (10, PACED, BEGIN)]
)
async def test_a_batch_is_delivered_in_the_same_number_of_round_trips_regardless_of_its_size(
    pipeline: MessagePipeline, new_limiter: NewLimiter, size: int, pace: Pace | None, begin_apart: int
) -> None:
    pipeline.delivery.rate_limiter = new_limiter(pace)
    ids = await asyncio.gather(*(pipeline.accept(body=f"{number}") for number in range(size)))
    pipeline.sender.gate.clear()
    async with round_trips(pipeline.worker) as seen:
        draining = asyncio.create_task(pipeline.delivery.drain())
        while len(pipeline.sender.sent) < size:
            await asyncio.sleep(0)
        # All answers come at once, as one batch.
        pipeline.sender.gate.set()
        await draining
    assert {await pipeline.status(one) for one in ids} == {"SENT"}
    assert len(seen) == CLAIM + begin_apart + RECORD + NOTHING_LEFT, seen


_AS_IT_STANDS = [
    text(
        "SELECT status, updated_at = now(), lease_until - now(), lease_token, attempt_count FROM messages"
        " WHERE id = :id"
    ),
    text(
        "SELECT number, step, channel, integration, token, outcome, started_at = now() FROM attempts"
        " WHERE message_id = :id"
    ),
    text(
        "SELECT status, previous_status, channel, attempt, detail, source FROM message_events WHERE message_id = :id"
        " ORDER BY sequence"
    ),
]


async def test_beginning_at_claim_time_leaves_the_same_state_as_beginning_afterwards(pipeline: MessagePipeline) -> None:
    async def written(begins: bool) -> list[list[str]]:
        message_id = await pipeline.accept()
        async with pipeline.worker.transaction() as connection:
            claimed = await claim(
                connection, Channel.SMS, "twilio", worker="test", limit=9, timing=TIMING, begins=begins
            )
            if not begins:
                assert len(await begin(connection, claimed, TIMING)) == 1
            rows = [(await connection.execute(one, {"id": message_id})).all() for one in _AS_IT_STANDS]
            return [[repr(row) for row in table] for table in rows]

    assert await written(begins=True) == await written(begins=False)


async def test_valkey_is_called_before_and_after_a_batch_and_not_for_each_message(
    pipeline: MessagePipeline, new_limiter: NewLimiter, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(30):
        await pipeline.accept(body=f"{number}")
    pipeline.delivery.rate_limiter = new_limiter()
    # The store learns the scripts first, once for all.
    allowance = await pipeline.delivery.rate_limiter.allow(1)
    await pipeline.delivery.rate_limiter.give_back(allowance, 1)
    await pipeline.delivery.rate_limiter.report(CallOutcomes(allowance.ticket, successes=1))
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
    await pipeline.delivery.drain()
    assert len(pipeline.sender.sent) == 30
    # Asked how many may go, and at the end whether more may; unused slots are returned; the outcome is reported.
    assert sorted(said) == [*["EVALSHA"] * 5, *["PUBLISH"] * 2]
