"""The rate limit of a provider, shared by all workers: in total, per recipient, and after a request to slow down."""

import asyncio
import time

import pytest
from redis.asyncio import Redis

from core.ports import Pace
from core.providers.circuit import CallOutcomes, CircuitState
from core.providers.rate_limiter import SharedRateLimiter
from tests.databases import SharedStores
from tests.delivery.limiters import NewLimiter
from tests.servers import free_port

FAST = Pace(200, burst=20)
SLOW = Pace(0.01, burst=10)
"""So slow that no test sees the next message come free."""
WHATSAPP = Pace(1000, burst=1000, recipient_interval=6.0, recipient_burst=45)
ANA, EVA = b"a" * 32, b"e" * 32


async def granted(limiter: SharedRateLimiter, until: float) -> int:
    """Take all there is until a moment."""
    total = 0
    while time.monotonic() < until:
        allowance = await limiter.allow(50)
        total += allowance.count
        await asyncio.sleep(min(allowance.retry_in, 0.05))
    return total


async def test_two_workers_together_keep_the_rate(new_limiter: NewLimiter) -> None:
    began = time.monotonic()
    counts = await asyncio.gather(*(granted(new_limiter(FAST), began + 0.4) for _ in range(2)))
    took = time.monotonic() - began
    # 200 a second and 20 at once; a busy machine may send fewer, but never more.
    assert 20 + 20 <= sum(counts) <= 20 + 200 * took + 1


async def test_a_burst_is_all_there_is_until_time_passes(new_limiter: NewLimiter) -> None:
    here, there = new_limiter(SLOW), new_limiter(SLOW)
    assert (await here.allow(6)).count == 6
    rest = await there.allow(50)
    assert (rest.count, rest.circuit) == (4, CircuitState.CLOSED)
    none = await here.allow(1)
    assert none.count == 0
    # One message in a hundred seconds.
    assert 90 < none.retry_in <= 100


async def test_a_deferred_batch_is_told_when_the_next_slot_is_free(new_limiter: NewLimiter) -> None:
    limiter = new_limiter(Pace(1000, burst=500))
    while (allowance := await limiter.allow(500)).count == 500:
        pass
    # A hundred messages, a tenth of a second's worth, are worth coming back for; each single one is not.
    assert 0.05 < allowance.retry_in <= 0.1


async def test_what_was_not_used_can_be_given_back(new_limiter: NewLimiter) -> None:
    here, there = new_limiter(SLOW), new_limiter(SLOW)
    allowance = await here.allow(10)
    assert (await there.allow(5)).count == 0
    await here.give_back(allowance, 7)
    assert (await there.allow(50)).count == 7


async def test_giving_back_never_makes_more_than_a_burst(new_limiter: NewLimiter) -> None:
    limiter = new_limiter(SLOW)
    allowance = await limiter.allow(2)
    await limiter.give_back(allowance, 9)
    assert (await limiter.allow(50)).count == 10


async def test_a_pause_requested_by_a_provider_applies_to_all_workers(new_limiter: NewLimiter) -> None:
    here, there = new_limiter(FAST), new_limiter(FAST)
    await here.report(CallOutcomes(None, pause=30))
    await there.report(CallOutcomes(None, pause=5))
    for limiter in (here, there):
        allowance = await limiter.allow(1)
        # A pause is no failure, and a shorter one does not end a longer one.
        assert (allowance.count, allowance.circuit) == (0, CircuitState.CLOSED)
        assert 25 < allowance.retry_in <= 30


async def test_a_pause_ends(new_limiter: NewLimiter) -> None:
    limiter = new_limiter(FAST)
    await limiter.report(CallOutcomes(None, pause=0.1))
    assert (await limiter.allow(1)).count == 0
    await asyncio.sleep(0.11)
    assert (await limiter.allow(1)).count == 1


async def test_one_person_gets_a_burst_and_then_waits_for_what_it_took_in_advance(new_limiter: NewLimiter) -> None:
    here, there = new_limiter(WHATSAPP), new_limiter(WHATSAPP)
    assert await here.admit([ANA] * 20 + [EVA]) == [0.0] * 21
    waits = await there.admit([ANA] * 30 + [EVA])
    assert waits[:25] + waits[30:] == [0.0] * 26
    # Forty-five messages at one in six seconds.
    assert all(265 < wait <= 270 for wait in waits[25:30])


async def test_after_the_first_interval_a_burst_cannot_go_on(new_limiter: NewLimiter) -> None:
    limiter = new_limiter(Pace(1000, recipient_interval=0.1, recipient_burst=45))
    assert await limiter.admit([ANA] * 4) == [0.0] * 4
    await asyncio.sleep(0.12)
    [wait] = await limiter.admit([ANA])
    assert 0 < wait <= 0.28
    await asyncio.sleep(wait + 0.01)
    assert await limiter.admit([ANA]) == [0.0]


async def test_those_held_back_together_do_not_all_come_back_at_once(new_limiter: NewLimiter) -> None:
    limiter = new_limiter(Pace(1000, recipient_interval=10.0, recipient_burst=2))
    waits = await limiter.admit([ANA] * 6)
    assert [round(wait, -1) for wait in waits] == [0, 0, 20, 20, 40, 40]


async def test_pairs_are_forgotten_once_they_are_even(
    new_limiter: NewLimiter, stores: SharedStores, integration: str
) -> None:
    await new_limiter(WHATSAPP).admit([ANA, ANA])
    redis = Redis.from_url(stores.urls.redis)
    left = await redis.pttl(f"interalpha:pair:{integration}:{ANA.hex()}")
    await redis.aclose()
    assert 10_000 < left <= 12_000


async def test_without_a_rate_nothing_is_deferred(new_limiter: NewLimiter) -> None:
    limiter = new_limiter()
    assert (await limiter.allow(5_000)).count == 5_000
    assert await limiter.admit([ANA] * 100) == [0.0] * 100


@pytest.fixture
def alone(new_limiter: NewLimiter) -> SharedRateLimiter:
    """A rate limiter whose store is unreachable."""
    return new_limiter(Pace(0.01, burst=10), at=f"redis://127.0.0.1:{free_port()}/0")


async def test_without_the_store_every_worker_keeps_to_its_share(alone: SharedRateLimiter) -> None:
    allowance = await alone.allow(50)
    assert allowance.count == 5
    none = await alone.allow(1)
    assert none.count == 0
    # Half of one message in a hundred seconds.
    assert 180 < none.retry_in <= 200
    await alone.give_back(allowance, 2)
    assert (await alone.allow(50)).count == 2


async def test_the_share_follows_the_number_of_workers(alone: SharedRateLimiter) -> None:
    alone.workers = 1
    assert (await alone.allow(50)).count == 10


async def test_without_the_store_a_pause_applies_in_the_worker_that_received_it(alone: SharedRateLimiter) -> None:
    await alone.report(CallOutcomes(None, pause=30))
    allowance = await alone.allow(1)
    assert allowance.count == 0
    assert 25 < allowance.retry_in <= 30


async def test_without_the_store_no_recipient_is_held_back(new_limiter: NewLimiter) -> None:
    limiter = new_limiter(WHATSAPP, at=f"redis://127.0.0.1:{free_port()}/0")
    assert await limiter.admit([ANA] * 50) == [0.0] * 50
