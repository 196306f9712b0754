"""A worker is killed at each step of a send. What was not begun is sent; what was begun is not sent again."""

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


async def claimed(system: SystemUnderTest, number: int) -> None:
    system.proxies["worker-postgres"].latency = 0.3
    await system.workers[0].start()
    await wait_until_claimed(system)


async def begun_and_nothing_written(system: SystemUnderTest, number: int) -> None:
    system.proxies["twilio"].stall()
    await system.workers[0].start()
    await wait_until_in_flight(system, number)


async def written_and_not_taken(system: SystemUnderTest, number: int) -> None:
    await system.control.arm("twilio", "timeout", always=True)
    await system.workers[0].start()
    await until(lambda: count_triggered(system), lambda found: found >= number, PATIENCE)


async def taken_and_not_answered(system: SystemUnderTest, number: int) -> None:
    before = await count_taken_by_twilio(system)
    await system.control.arm("twilio", "timeout", always=True, accepted=True)
    await system.workers[0].start()
    await until(lambda: count_taken_by_twilio(system), lambda found: found >= before + number, PATIENCE)


async def answered_and_not_recorded(system: SystemUnderTest, number: int) -> None:
    before = await count_taken_by_twilio(system)
    await system.control.arm("twilio", "slow", always=True, seconds=1.5)
    await system.workers[0].start()
    await wait_until_in_flight(system, number)
    system.proxies["worker-postgres"].latency = 0.5
    await until(lambda: count_taken_by_twilio(system), lambda found: found >= before + number, PATIENCE)


async def killed_at(step: Step, folder: Path, hand_in: HandIn = send) -> Evidence:
    async with system_under_test(folder, Plan(workers=1, within=300 + 120 * ROUNDS)) as system:
        traffic = sms_traffic(system, step.__name__)
        [worker] = system.workers
        for _ in range(ROUNDS):
            await worker.kill()
            await hand_in(traffic, NUMBER)
            await step(system, NUMBER)
            await worker.kill()
            await system.heal()
            # The next round must not begin while messages of this one wait for their leases to end.
            await system.expire_leases()
        return await settle_and_check(system, traffic, seed=step.__name__)


async def test_a_message_claimed_and_not_begun_is_sent_once(tmp_path: Path) -> None:
    evidence = await killed_at(claimed, tmp_path, send_answers)
    assert count_statuses(evidence) == {"DELIVERED": NUMBER * ROUNDS}
    assert count_copies(evidence) == {1: NUMBER * ROUNDS}
    assert count_ever(evidence, "UNCONFIRMED") == 0


@pytest.mark.parametrize("step", [begun_and_nothing_written, written_and_not_taken])
async def test_a_message_begun_and_not_received_is_not_sent_again(step: Step, tmp_path: Path) -> None:
    evidence = await killed_at(step, tmp_path)
    assert count_ever(evidence, "UNCONFIRMED") == NUMBER * ROUNDS
    assert count_copies(evidence)[0] == count_statuses(evidence)["UNCONFIRMED"] + count_statuses(evidence)["FAILED"]


@pytest.mark.parametrize("step", [taken_and_not_answered, answered_and_not_recorded])
async def test_a_message_that_was_received_is_settled_by_its_reports(step: Step, tmp_path: Path) -> None:
    evidence = await killed_at(step, tmp_path)
    assert count_statuses(evidence) == {"DELIVERED": NUMBER * ROUNDS}
    assert count_copies(evidence) == {1: NUMBER * ROUNDS}
