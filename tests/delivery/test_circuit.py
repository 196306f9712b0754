"""The circuit of a provider, shared by all workers: when it opens, which call is the trial, what closes it."""

import asyncio
import re
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace

import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs

from core.errors import Overloaded
from core.ports import Pace
from core.providers.circuit import (
    MICROSECONDS,
    CallOutcomes,
    CircuitRules,
    Circuits,
    CircuitState,
    CircuitView,
    limiter_key,
)
from core.providers.rate_limiter import SharedRateLimiter, Unlimited
from core.providers.scripts import RESET
from core.rate_limit import SharedScripts
from tests.databases import SharedStores
from tests.delivery.limiters import (
    PATIENT_RULES,
    QUICK_RULES,
    NewLimiter,
    answered_calls,
    answered_for,
    failed_calls,
    refused_calls,
    suspected_calls,
)
from tests.helpers import until
from tests.servers import free_port

CLOSED, HALF_OPEN, OPEN = CircuitState.CLOSED, CircuitState.HALF_OPEN, CircuitState.OPEN


@pytest.fixture
async def redis(stores: SharedStores) -> AsyncIterator[Redis]:
    connection = Redis.from_url(stores.urls.redis)
    yield connection
    await connection.aclose()


@pytest.fixture
def circuits(redis: Redis) -> Circuits:
    return Circuits(redis)


async def opened(limiter: SharedRateLimiter) -> None:
    await limiter.report(failed_calls(await limiter.allow(QUICK_RULES.failures), QUICK_RULES.failures))


async def trial_of(limiter: SharedRateLimiter) -> float:
    """Wait for the next trial and return how long that took."""
    began = time.monotonic()
    while (allowance := await limiter.allow(5)).count == 0:
        await asyncio.sleep(min(allowance.retry_in, 0.3))
    assert (allowance.count, allowance.circuit) == (1, HALF_OPEN)
    await limiter.report(failed_calls(allowance))
    return time.monotonic() - began


async def test_a_new_circuit_lets_everything_through(new_limiter: NewLimiter) -> None:
    allowance = await new_limiter().allow(50)
    assert (allowance.count, allowance.retry_in, allowance.circuit) == (50, 0.0, CLOSED)


async def test_failures_in_a_row_open_it_for_every_worker(new_limiter: NewLimiter) -> None:
    here, there = new_limiter(rules=PATIENT_RULES), new_limiter(rules=PATIENT_RULES)
    await here.report(failed_calls(await here.allow(1)))
    await there.report(failed_calls(await there.allow(1)))
    assert (await here.allow(1)).count == 1
    await there.report(failed_calls(await there.allow(1)))
    for limiter in (here, there):
        allowance = await limiter.allow(50)
        assert (allowance.count, allowance.circuit) == (0, OPEN)
        assert 40 < allowance.retry_in <= 60


async def test_an_answer_breaks_the_row(new_limiter: NewLimiter) -> None:
    limiter = new_limiter(rules=PATIENT_RULES)
    for _ in range(4):
        allowance = await limiter.allow(10)
        await limiter.report(failed_calls(allowance, 2))
        await limiter.report(answered_calls(allowance))
    assert (await limiter.allow(10)).count == 10


async def test_refused_credentials_open_the_circuit_sooner(new_limiter: NewLimiter) -> None:
    limiter = new_limiter(rules=PATIENT_RULES)
    allowance = await limiter.allow(10)
    await limiter.report(refused_calls(allowance))
    assert (await limiter.allow(1)).circuit is CLOSED
    with capture_logs() as logs:
        await limiter.report(refused_calls(allowance))
    assert (await limiter.allow(1)).circuit is OPEN
    assert [(line["event"], line["failures"], "interalpha check" in line["advice"]) for line in logs] == [
        ("circuit_opened", 2, True)
    ]


async def test_one_recipient_opens_nothing_however_often_a_call_fails(new_limiter: NewLimiter) -> None:
    limiter = new_limiter(rules=PATIENT_RULES)
    allowance = await limiter.allow(10)
    for is_refusal in (False, True):
        for _ in range(20):
            await limiter.report(suspected_calls(allowance, "a1", is_refusal=is_refusal))
    assert (await limiter.allow(10)).count == 10


async def test_a_tenant_that_is_alone_opens_it_over_different_recipients(new_limiter: NewLimiter) -> None:
    here, there = new_limiter(rules=PATIENT_RULES), new_limiter(rules=PATIENT_RULES)
    allowance = await here.allow(10)
    await here.report(suspected_calls(allowance, "a1", "a2", "a1"))
    assert (await there.allow(10)).circuit is CLOSED
    await there.report(suspected_calls(allowance, "a3"))
    assert (await here.allow(10)).circuit is OPEN


async def test_one_tenant_opens_nothing_while_another_s_calls_are_answered(new_limiter: NewLimiter) -> None:
    limiter = new_limiter(rules=PATIENT_RULES)
    allowance = await limiter.allow(10)
    await limiter.report(answered_for(allowance, "b"))
    for number in range(20):
        await limiter.report(suspected_calls(allowance, f"a{number}", is_refusal=number % 2 == 0))
    assert (await limiter.allow(10)).circuit is CLOSED
    # As soon as the other tenant has the same failure, it is the provider's.
    await limiter.report(suspected_calls(allowance, "b1"))
    assert (await limiter.allow(10)).circuit is OPEN


async def test_a_tenant_that_was_active_long_ago_keeps_no_circuit_closed(new_limiter: NewLimiter) -> None:
    limiter = new_limiter(rules=replace(PATIENT_RULES, active_for=1.0))
    allowance = await limiter.allow(10)
    await limiter.report(answered_for(allowance, "b"))
    await asyncio.sleep(2.0)
    await limiter.report(suspected_calls(allowance, "a1", "a2", "a3"))
    assert (await limiter.allow(10)).circuit is OPEN


async def test_an_answer_breaks_the_row_of_suspects_too(new_limiter: NewLimiter) -> None:
    limiter = new_limiter(rules=PATIENT_RULES)
    for number in range(5):
        allowance = await limiter.allow(10)
        await limiter.report(suspected_calls(allowance, f"a{2 * number}", f"a{2 * number + 1}"))
        await limiter.report(answered_for(allowance, "a"))
    assert (await limiter.allow(10)).count == 10


async def test_what_any_call_would_have_met_counts_beside_suspects(new_limiter: NewLimiter) -> None:
    limiter = new_limiter(rules=PATIENT_RULES)
    allowance = await limiter.allow(10)
    await limiter.report(suspected_calls(allowance, "a1"), failed_calls(allowance))
    assert (await limiter.allow(10)).circuit is CLOSED
    await limiter.report(failed_calls(allowance))
    assert (await limiter.allow(10)).circuit is OPEN


async def test_different_recipients_that_refuse_us_open_it_sooner(new_limiter: NewLimiter) -> None:
    limiter = new_limiter(rules=replace(PATIENT_RULES, failures=10))
    allowance = await limiter.allow(10)
    with capture_logs() as logs:
        await limiter.report(suspected_calls(allowance, "a1", "b1", is_refusal=True))
    assert (await limiter.allow(1)).circuit is OPEN
    assert "interalpha check" in logs[0]["advice"]


async def test_a_trial_to_a_suspect_makes_no_pause_longer(new_limiter: NewLimiter) -> None:
    limiter = new_limiter(rules=replace(QUICK_RULES, first_pause=0.2, longest_pause=10.0))
    await limiter.report(suspected_calls(await limiter.allow(10), "a1", "a2", "b1"))
    pauses = []
    for who in ("a1", "a1", "a1", "b9"):
        while (trial := await limiter.allow(1)).count == 0:
            await asyncio.sleep(min(trial.retry_in, 0.1))
        await limiter.report(suspected_calls(trial, who))
        pauses.append((await limiter.allow(1)).retry_in)
    assert all(pause <= 0.2 for pause in pauses[:3])
    assert pauses[3] > 0.25


async def test_a_trial_that_says_nothing_is_free_for_the_next(new_limiter: NewLimiter) -> None:
    limiter = new_limiter(rules=replace(QUICK_RULES, trial_lease=60.0))
    await opened(limiter)
    await asyncio.sleep(QUICK_RULES.first_pause)
    trial = await limiter.allow(1)
    assert (await limiter.allow(1)).count == 0
    await limiter.report(CallOutcomes(trial.ticket))
    assert (await limiter.allow(1)).count == 1


async def test_the_store_keeps_a_bounded_number_of_suspects_and_tenants(
    new_limiter: NewLimiter, redis: Redis, integration: str
) -> None:
    limiter = new_limiter(rules=replace(PATIENT_RULES, failures=1_000, refusals=1_000))
    allowance = await limiter.allow(10)
    for first in range(0, 600, 100):
        names = [f"{number % 16:x}{number:04x}" for number in range(first, first + 100)]
        await limiter.report(suspected_calls(allowance, *names))
    kept = await redis.hgetall(limiter_key(integration))
    assert len(kept[b"suspects"].split()) == 32
    assert len(kept[b"active"].split()) == 8
    assert re.fullmatch(rb"([0-9a-f:F]+ ?)+", kept[b"suspects"])


async def test_of_twenty_who_ask_one_may_try(new_limiter: NewLimiter) -> None:
    workers = [new_limiter(rules=replace(QUICK_RULES, trial_lease=60.0)) for _ in range(20)]
    await opened(workers[0])
    await asyncio.sleep(QUICK_RULES.first_pause)
    allowances = await asyncio.gather(*(worker.allow(10) for worker in workers))
    assert sorted(one.count for one in allowances) == [0] * 19 + [1]
    assert {one.circuit for one in allowances} == {HALF_OPEN}


async def test_a_good_trial_closes_it(new_limiter: NewLimiter) -> None:
    limiter, other = new_limiter(), new_limiter()
    await opened(limiter)
    await asyncio.sleep(QUICK_RULES.first_pause)
    await limiter.report(answered_calls(await limiter.allow(10)))
    assert (await other.allow(10)).count == 10
    # The series starts again.
    await other.report(failed_calls(await other.allow(1)))
    assert (await limiter.allow(10)).circuit is CLOSED


async def test_each_bad_trial_makes_the_pause_longer_up_to_a_limit(new_limiter: NewLimiter) -> None:
    limiter = new_limiter()
    await opened(limiter)
    waited = [await trial_of(limiter) for _ in range(3)]
    # 0.1, 0.2 and 0.25 seconds, each up to a fifth shorter; asking takes its time, so there is no upper bound here.
    assert waited[0] >= 0.07
    assert waited[1] >= 0.15
    assert waited[2] >= 0.19
    assert (await limiter.allow(1)).retry_in <= 0.25


async def test_a_trial_whose_worker_died_is_let_go(new_limiter: NewLimiter) -> None:
    rules = replace(QUICK_RULES, trial_lease=0.4)
    # The dead do not renew.
    dead, alive = new_limiter(rules=replace(rules, longest_trial=0.0)), new_limiter(rules=rules)
    await opened(dead)
    await asyncio.sleep(QUICK_RULES.first_pause)
    lost = await dead.allow(1)
    assert (await alive.allow(1)).count == 0
    await asyncio.sleep(rules.trial_lease)
    trial = await alive.allow(1)
    assert trial.count == 1
    # A trial whose lease has ended does not decide any more; the present one does.
    await dead.report(answered_calls(lost))
    assert (await dead.allow(1)).circuit is HALF_OPEN
    await alive.report(answered_calls(trial))
    assert (await dead.allow(1)).circuit is CLOSED


async def test_a_trial_that_takes_long_keeps_its_lease_until_its_call_has_ended(new_limiter: NewLimiter) -> None:
    rules = replace(QUICK_RULES, trial_lease=0.3)
    slow, other = new_limiter(rules=rules), new_limiter(rules=rules)
    await opened(slow)
    await asyncio.sleep(QUICK_RULES.first_pause)
    trial = await slow.allow(1)
    assert trial.count == 1
    for _ in range(10):
        await asyncio.sleep(0.1)
        assert (await other.allow(1)).count == 0
    # Its result is reported and the report is lost: another trial may start as soon as the lease has ended.
    slow._end_trial(trial.ticket)
    await asyncio.sleep(rules.trial_lease)
    assert (await other.allow(1)).count == 1


async def test_a_trial_granted_to_a_worker_that_gave_up_is_free_within_two_seconds(
    new_limiter: NewLimiter, stores: SharedStores
) -> None:
    rules = replace(CircuitRules(), failures=3, first_pause=0.1)
    operations, other = new_limiter(rules=rules), new_limiter(rules=rules)
    await opened(operations)
    await asyncio.sleep(rules.first_pause)
    asking = asyncio.create_task(operations.allow(1))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    asking.cancel()
    with suppress(asyncio.CancelledError):
        await asking
    await until(lambda: other.allow(0), lambda allowance: allowance.circuit is HALF_OPEN, 1)
    assert (await other.allow(1)).count == 0
    began = time.monotonic()
    trial = await until(lambda: other.allow(1), lambda allowance: allowance.count == 1, 3)
    assert time.monotonic() - began < 2
    await other.report(answered_calls(trial))
    assert (await operations.allow(5)).circuit is CLOSED


async def test_a_reset_that_was_given_up_takes_no_effect_later(
    new_limiter: NewLimiter, redis: Redis, integration: str
) -> None:
    limiter = new_limiter(rules=PATIENT_RULES)
    await opened(limiter)
    seconds, microseconds = await redis.time()
    late = (seconds - 1) * MICROSECONDS + microseconds
    assert await SharedScripts(redis, "test").run(RESET, [limiter_key(integration)], late) == -1
    assert (await limiter.allow(1)).circuit is OPEN


async def test_a_trial_with_nothing_to_send_is_free_for_the_next(new_limiter: NewLimiter) -> None:
    idle, busy = (new_limiter(rules=replace(QUICK_RULES, trial_lease=60.0)) for _ in range(2))
    await opened(idle)
    await asyncio.sleep(QUICK_RULES.first_pause)
    await idle.give_back(await idle.allow(5), 1)
    assert (await busy.allow(5)).count == 1


async def test_late_answers_close_nothing_and_late_failures_prolong_nothing(new_limiter: NewLimiter) -> None:
    rules = replace(QUICK_RULES, first_pause=0.4, longest_pause=0.4, trial_lease=60.0)
    limiter = new_limiter(rules=rules)
    before = await limiter.allow(20)
    await limiter.report(failed_calls(before, 3))
    retry_in = (await limiter.allow(1)).retry_in
    await limiter.report(answered_calls(before))
    await limiter.report(failed_calls(before, 10))
    still = await limiter.allow(1)
    assert (still.circuit, still.retry_in <= retry_in) == (OPEN, True)
    await asyncio.sleep(rules.first_pause)
    trial = await limiter.allow(1)
    await limiter.report(failed_calls(before), answered_calls(before))
    assert (await limiter.allow(1)).circuit is HALF_OPEN
    await limiter.report(answered_calls(trial))
    await limiter.report(failed_calls(before, 10))
    assert (await limiter.allow(1)).circuit is CLOSED


async def test_a_change_is_published_once(new_limiter: NewLimiter, integration: str) -> None:
    limiter, other = (new_limiter(rules=replace(QUICK_RULES, trial_lease=60.0)) for _ in range(2))
    with capture_logs() as logs:
        allowance = await limiter.allow(20)
        await limiter.report(failed_calls(allowance, 3))
        await other.report(failed_calls(allowance, 3))
        await asyncio.sleep(QUICK_RULES.first_pause)
        trial = await limiter.allow(1)
        await other.allow(1)
        await limiter.report(answered_calls(trial))
        await limiter.report(answered_calls(trial))
    assert [line["event"] for line in logs] == ["circuit_opened", "circuit_closed"]
    assert {line["integration"] for line in logs} == {integration}
    assert 0 < logs[0]["retry_in"] <= QUICK_RULES.first_pause


async def test_a_circuit_can_be_seen_and_closed_by_hand(
    new_limiter: NewLimiter, circuits: Circuits, integration: str
) -> None:
    limiter = new_limiter(rules=PATIENT_RULES)
    before = await limiter.allow(20)
    await limiter.report(failed_calls(before, 4))
    seen = (await circuits.read([integration, "nobody"]))[integration]
    assert (seen.state, seen.consecutive_failures) == (OPEN, 4)
    assert seen.opened_at is not None
    assert seen.retry_at is not None
    assert 40 < (seen.retry_at - seen.opened_at).total_seconds() <= 60
    await circuits.reset(integration, by="ana")
    assert (await circuits.read([integration]))[integration] == CircuitView()
    # What began before says nothing about the time after the mending.
    await limiter.report(failed_calls(before, 10))
    assert (await limiter.allow(7)).count == 7


async def test_calls_from_before_a_reset_do_not_undo_it_even_where_the_circuit_was_closed(
    new_limiter: NewLimiter, circuits: Circuits, integration: str
) -> None:
    limiter = new_limiter(rules=PATIENT_RULES)
    before = await limiter.allow(20)
    await circuits.reset(integration, by="ana")
    await limiter.report(failed_calls(before, 10))
    assert (await limiter.allow(7)).count == 7


async def test_a_reset_ends_a_pause_too(new_limiter: NewLimiter, circuits: Circuits, integration: str) -> None:
    limiter = new_limiter()
    await limiter.report(CallOutcomes(None, pause=60))
    assert (await limiter.allow(1)).count == 0
    await circuits.reset(integration, by="ana")
    assert (await limiter.allow(1)).count == 1


async def test_there_is_no_trial_while_the_pace_is_used_up(new_limiter: NewLimiter) -> None:
    limiter = new_limiter(Pace(0.01, burst=3))
    await opened(limiter)
    await asyncio.sleep(QUICK_RULES.first_pause)
    allowance = await limiter.allow(1)
    assert (allowance.count, allowance.circuit) == (0, OPEN)
    assert allowance.retry_in > 90


async def test_while_a_trial_is_under_way_its_lease_is_shown(
    new_limiter: NewLimiter, circuits: Circuits, integration: str
) -> None:
    limiter = new_limiter(rules=replace(QUICK_RULES, trial_lease=60.0))
    await opened(limiter)
    await asyncio.sleep(QUICK_RULES.first_pause)
    await limiter.allow(1)
    seen = (await circuits.read([integration]))[integration]
    assert seen.state is HALF_OPEN
    assert seen.opened_at is not None
    assert seen.retry_at is not None
    assert (seen.retry_at - seen.opened_at).total_seconds() >= 60


async def test_an_open_circuit_whose_time_is_over_is_shown_half_open(
    new_limiter: NewLimiter, circuits: Circuits, integration: str
) -> None:
    await opened(new_limiter())
    await asyncio.sleep(QUICK_RULES.first_pause)
    seen = (await circuits.read([integration]))[integration]
    assert (seen.state, seen.consecutive_failures) == (HALF_OPEN, 3)


async def test_nothing_stays_in_the_store_for_ever(new_limiter: NewLimiter, redis: Redis, integration: str) -> None:
    await opened(new_limiter())
    assert 3_600 < await redis.ttl(limiter_key(integration)) <= 7_200


async def test_an_emptied_store_is_a_closed_circuit(new_limiter: NewLimiter, redis: Redis, integration: str) -> None:
    limiter = new_limiter(rules=PATIENT_RULES)
    await opened(limiter)
    await redis.delete(limiter_key(integration))
    await redis.script_flush()
    assert (await limiter.allow(5)).count == 5


async def test_without_the_store_the_circuit_counts_as_closed_and_one_warning_is_logged(
    new_limiter: NewLimiter,
) -> None:
    limiter = new_limiter(at=f"redis://127.0.0.1:{free_port()}/0")
    with capture_logs() as logs:
        for _ in range(3):
            allowance = await limiter.allow(5)
            assert (allowance.count, allowance.circuit) == (5, CLOSED)
            await limiter.report(failed_calls(allowance, 9))
            await limiter.give_back(allowance, 2)
    assert [line["event"] for line in logs] == ["flow_store_away"]


async def test_a_store_that_does_not_answer_costs_half_a_second_at_most(new_limiter: NewLimiter) -> None:
    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with await asyncio.start_server(say_nothing, "127.0.0.1", port := free_port()):
        limiter = new_limiter(at=f"redis://127.0.0.1:{port}/0")
        began = time.monotonic()
        assert (await limiter.allow(5)).count == 5
        assert time.monotonic() - began < 2


async def test_without_the_store_circuits_are_shown_closed_and_cannot_be_reset() -> None:
    redis = Redis.from_url(f"redis://127.0.0.1:{free_port()}/0")
    circuits = Circuits(redis)
    assert await circuits.read(["twilio"]) == {"twilio": CircuitView()}
    with pytest.raises(Overloaded, match="Reset it again"):
        await circuits.reset("twilio", by="ana")
    await redis.aclose()


async def test_an_open_gate_allows_everything() -> None:
    limiter = Unlimited()
    allowance = await limiter.allow(50)
    await limiter.report(CallOutcomes(allowance.ticket, failures=100))
    await limiter.give_back(allowance, 3)
    await limiter.report(CallOutcomes(None, pause=60))
    assert (await limiter.allow(50)).count == 50
    assert await limiter.admit([b"a", b"a"]) == [0.0, 0.0]
