"""F1: a worker is killed at each step of a send. What had not begun is sent; what had is never sent blindly again."""

import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.faults.evidence import Evidence
from tests.faults.runs import settle_and_check
from tests.faults.steps import (
    PATIENCE,
    count_copies,
    count_ever,
    count_statuses,
    count_taken_by_twilio,
    count_triggered,
    send,
    send_answers,
    sms_traffic,
    wait_until_claimed,
    wait_until_in_flight,
)
from tests.faults.system import Plan, SystemUnderTest, system_under_test
from tests.faults.traffic import Order, Traffic
from tests.helpers import until

NUMBER = int(os.environ.get("FAULT_NUMBER") or 10)
ROUNDS = int(os.environ.get("FAULT_ROUNDS") or 3)

Step = Callable[[SystemUnderTest, int], Awaitable[None]]
HandIn = Callable[[Traffic, int], Awaitable[list[Order]]]


async def claimed(city: SystemUnderTest, number: int) -> None:
    city.wires["worker-postgres"].latency = 0.3
    await city.workers[0].start()
    await wait_until_claimed(city)


async def begun_and_nothing_written(city: SystemUnderTest, number: int) -> None:
    city.wires["twilio"].swallow()
    await city.workers[0].start()
    await wait_until_in_flight(city, number)


async def written_and_not_taken(city: SystemUnderTest, number: int) -> None:
    await city.control.arm("twilio", "timeout", always=True)
    await city.workers[0].start()
    await until(lambda: count_triggered(city), lambda found: found >= number, PATIENCE)


async def taken_and_not_answered(city: SystemUnderTest, number: int) -> None:
    before = await count_taken_by_twilio(city)
    await city.control.arm("twilio", "timeout", always=True, accepted=True)
    await city.workers[0].start()
    await until(lambda: count_taken_by_twilio(city), lambda found: found >= before + number, PATIENCE)


async def answered_and_not_recorded(city: SystemUnderTest, number: int) -> None:
    before = await count_taken_by_twilio(city)
    await city.control.arm("twilio", "slow", always=True, seconds=1.5)
    await city.workers[0].start()
    await wait_until_in_flight(city, number)
    city.wires["worker-postgres"].latency = 0.5
    await until(lambda: count_taken_by_twilio(city), lambda found: found >= before + number, PATIENCE)


async def killed_at(step: Step, folder: Path, hand_in: HandIn = send) -> Evidence:
    async with system_under_test(folder, Plan(workers=1, within=300 + 120 * ROUNDS)) as city:
        traffic = sms_traffic(city, step.__name__)
        [worker] = city.workers
        for _ in range(ROUNDS):
            await worker.kill()
            await hand_in(traffic, NUMBER)
            await step(city, NUMBER)
            await worker.kill()
            await city.heal()
            # The messages of the next round must not mix with those that wait for this one's leases.
            await city.let_leases_end()
        return await settle_and_check(city, traffic, seed=step.__name__)


async def test_what_was_claimed_and_not_begun_goes_out_once(tmp_path: Path) -> None:
    evidence = await killed_at(claimed, tmp_path, send_answers)
    assert count_statuses(evidence) == {"DELIVERED": NUMBER * ROUNDS}
    assert count_copies(evidence) == {1: NUMBER * ROUNDS}
    assert count_ever(evidence, "UNCONFIRMED") == 0


@pytest.mark.parametrize("step", [begun_and_nothing_written, written_and_not_taken])
async def test_what_had_begun_and_never_arrived_is_not_sent_again_blindly(step: Step, tmp_path: Path) -> None:
    evidence = await killed_at(step, tmp_path)
    assert count_ever(evidence, "UNCONFIRMED") == NUMBER * ROUNDS
    assert count_copies(evidence)[0] == count_statuses(evidence)["UNCONFIRMED"] + count_statuses(evidence)["FAILED"]


@pytest.mark.parametrize("step", [taken_and_not_answered, answered_and_not_recorded])
async def test_what_had_arrived_is_settled_by_its_reports(step: Step, tmp_path: Path) -> None:
    evidence = await killed_at(step, tmp_path)
    assert count_statuses(evidence) == {"DELIVERED": NUMBER * ROUNDS}
    assert count_copies(evidence) == {1: NUMBER * ROUNDS}
