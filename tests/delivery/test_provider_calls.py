"""Calls to providers: within a deadline, past the circuit breaker, and counted in the ledger."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from redis.asyncio import Redis

from core.database import Database
from core.errors import (
    FailureReason,
    FailureScope,
    OutcomeUnknown,
    Overloaded,
    ProviderError,
    ProviderMisconfigured,
    ProviderRejected,
    ProviderUnavailable,
)
from core.messages.delivery import SEND
from core.ports import OutboundMessage, Receipt
from core.ports.calls import CallEnd, end_of
from core.providers.calls import CountedCalls
from core.providers.circuit import limiter_key
from core.providers.ledger import BOUNDS, CallSummary, Ledger, delete_old_calls, summarize
from tests.delivery.pipeline import MessagePipeline

HOUR = timedelta(hours=1)


@pytest.fixture
async def redis(pipeline: MessagePipeline) -> AsyncIterator[Redis]:
    redis = pipeline.hub._redis
    yield redis
    await redis.delete(limiter_key("acme"))


async def summary_of(database: Database, name: str) -> CallSummary:
    async with database.transaction() as connection:
        return (await summarize(connection, HOUR)).get(name, CallSummary())


async def raises(error: BaseException) -> Any:
    raise error


def test_each_error_has_an_end_and_only_failures_of_the_provider_are_errors() -> None:
    limited = ProviderUnavailable("m", provider="acme", reason=FailureReason.RATE_LIMITED)
    cases = {
        CallEnd.ANSWERED: None,
        CallEnd.REJECTED: ProviderRejected("m", provider="acme"),
        CallEnd.LIMITED: limited,
        CallEnd.REFUSED: ProviderMisconfigured("m", provider="acme"),
        CallEnd.FAILED: ProviderUnavailable("m", provider="acme"),
        CallEnd.UNKNOWN: OutcomeUnknown("m", provider="acme"),
    }
    assert {end: end_of(error) for end, error in cases.items()} == {end: end for end in cases}
    assert {end for end in CallEnd if end.is_error} == {CallEnd.REFUSED, CallEnd.FAILED, CallEnd.UNKNOWN}


def test_percentiles_lie_in_the_bucket_that_holds_them() -> None:
    assert CallSummary().percentile(0.5) is None
    assert CallSummary().error_rate is None
    ledger = Ledger()
    for seconds in (0.003, 0.2, 0.2, 0.2, 100.0):
        ledger.record("acme", "read", CallEnd.ANSWERED, seconds)
    [cell] = ledger._cells.values()
    found = CallSummary(count=5, buckets=cell.buckets)
    assert 0 < (found.percentile(0.1) or 0) <= 0.005
    assert 0.1 < (found.percentile(0.5) or 0) <= 0.25
    assert found.percentile(1.0) == BOUNDS[-1]


async def test_two_processes_add_up_and_what_cannot_be_written_is_kept(pipeline: MessagePipeline) -> None:
    first, second = Ledger(), Ledger()
    for ledger, database, times in ((first, pipeline.app, 3), (second, pipeline.worker, 4)):
        for _ in range(times):
            ledger.record("acme", "read", CallEnd.ANSWERED, 0.2)
        ledger.record("acme", "read", CallEnd.FAILED, 2.0)
        assert await ledger.flush(database) == 2
        assert await ledger.flush(database) == 0
    found = await summary_of(pipeline.app, "acme")
    assert (found.count, found.errors, sum(found.buckets)) == (9, 2, 9)
    assert (found.last_success_at, found.last_failure_at) != (None, None)

    class Away:
        def transaction(self) -> Any:
            raise Overloaded("away", retry_after=1.0)

    first.record("acme", "read", CallEnd.ANSWERED, 0.2)
    with pytest.raises(Overloaded):
        await first.flush(Away())  # type: ignore[arg-type]
    first.record("acme", "read", CallEnd.ANSWERED, 0.2)
    await first.flush(pipeline.app)
    assert (await summary_of(pipeline.app, "acme")).count == 11


async def test_old_figures_are_deleted_by_a_worker(pipeline: MessagePipeline) -> None:
    ledger = Ledger()
    ledger.record("acme", "read", CallEnd.ANSWERED, 0.2)
    await ledger.flush(pipeline.app)
    await pipeline.tamper("UPDATE provider_calls SET minute = minute - interval '9 days'")
    async with pipeline.worker.transaction() as connection:
        await delete_old_calls(connection)
    assert await pipeline.count("provider_calls") == 0


async def test_every_call_is_counted_by_its_end_and_what_broke_here_is_not(
    pipeline: MessagePipeline, redis: Redis
) -> None:
    ledger = Ledger()
    calls = CountedCalls("acme", ledger, redis)

    async def answers() -> int:
        return 503

    assert await calls.call("read", answers) == 503
    assert await calls.call("read", answers, judge=lambda _: CallEnd.FAILED) == 503
    with pytest.raises(ProviderRejected):
        await calls.call("write", lambda: raises(ProviderRejected("no", provider="acme")))
    with pytest.raises(ZeroDivisionError):
        await calls.call("write", lambda: raises(ZeroDivisionError()))
    with pytest.raises(OutcomeUnknown, match=r"acme did not answer within 0.01 s \(wait\)"):
        await calls.call("wait", lambda: asyncio.sleep(5), deadline=0.01)
    with pytest.raises(TimeoutError):
        # A time-out of its own is not this deadline.
        await calls.call("wait", lambda: raises(TimeoutError()))
    assert sorted((key.operation, key.end.value, cell.count) for key, cell in ledger._cells.items()) == [
        ("read", "ANSWERED", 1),
        ("read", "FAILED", 1),
        ("wait", "UNKNOWN", 1),
        ("write", "REJECTED", 1),
    ]


async def test_an_open_circuit_refuses_a_call_without_making_it(pipeline: MessagePipeline, redis: Redis) -> None:
    calls, made = CountedCalls("acme", Ledger(), redis), 0

    async def fails() -> None:
        nonlocal made
        made += 1
        raise ProviderUnavailable("down", provider="acme")

    for _ in range(10):
        with pytest.raises(ProviderUnavailable, match="down"):
            await calls.call("read", fails, through_circuit=True)
    with pytest.raises(ProviderUnavailable, match="its circuit breaker is open") as refused:
        await calls.call("read", fails, through_circuit=True)
    assert made == 10
    assert (refused.value.scope, (refused.value.retry_after or 0) > 0) == (FailureScope.OURS, True)
    # A call that does not ask the circuit is made.
    with pytest.raises(ProviderUnavailable, match="down"):
        await calls.call("probe", fails)


async def test_messages_are_counted_without_another_statement(pipeline: MessagePipeline) -> None:
    def mixed(message: OutboundMessage) -> Receipt:
        if message.to.endswith("1"):
            raise ProviderMisconfigured("no such key", provider="twilio")
        return Receipt("SM1")

    pipeline.sender.answer = mixed
    for phone in ("+5511987654321", "+5511987654322"):
        await pipeline.accept(phone)
    await pipeline.delivery.drain()
    counted = {
        (key.integration, key.operation, key.end): cell.count for key, cell in pipeline.delivery.ledger._cells.items()
    }
    assert counted == {("twilio", SEND, CallEnd.ANSWERED): 1, ("twilio", SEND, CallEnd.REFUSED): 1}


async def test_what_broke_on_our_side_is_not_counted_against_the_provider(pipeline: MessagePipeline) -> None:
    def breaks(_: OutboundMessage) -> Receipt:
        raise ZeroDivisionError

    pipeline.sender.answer = breaks
    await pipeline.accept()
    await pipeline.delivery.drain()
    assert pipeline.delivery.ledger._cells == {}


def test_an_error_of_any_kind_has_an_end() -> None:
    assert end_of(ProviderError("m", provider="acme")) is CallEnd.REJECTED
