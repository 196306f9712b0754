"""A worker is frozen until its leases have ended; what it still wants to do, another worker has done."""

import asyncio
from pathlib import Path

import pytest

from tests.faults.runs import settle_and_check
from tests.faults.steps import (
    PATIENCE,
    count_claimed_and_not_begun,
    count_copies,
    count_statuses,
    count_triggered,
    send,
    send_answers,
    sms_traffic,
    wait_until_claimed,
    wait_until_in_flight,
)
from tests.faults.system import Plan, system_under_test
from tests.helpers import until

NUMBER = 20
AT_ONCE = 4
"""So few that the rate limiter lets a worker begin all of them at once."""


async def test_a_worker_frozen_between_claim_and_begin_does_not_send_what_another_one_has_claimed(
    tmp_path: Path,
) -> None:
    async with system_under_test(tmp_path, Plan(workers=2)) as system:
        frozen, other = system.workers
        await asyncio.gather(frozen.kill(), other.kill())
        traffic = sms_traffic(system, "between claim and begin")
        await send_answers(traffic, AT_ONCE)
        system.proxies["worker-postgres"].latency = 0.3
        await frozen.start()
        await wait_until_claimed(system)
        frozen.freeze()
        system.proxies["worker-postgres"].latency = 0
        claimed = await count_claimed_and_not_begun(system)
        assert claimed > 0, "it had begun already"
        # The rate limiter counted the frozen worker's recipients: without this the other worker would have to wait.
        await system.stores.flush()
        # The other worker is in the middle of its calls when the frozen one goes on.
        await system.control.arm("whatsapp", "slow", always=True, seconds=3)
        await system.expire_leases()
        await other.start()
        await wait_until_in_flight(system, AT_ONCE)
        frozen.thaw()
        evidence = await settle_and_check(system, traffic, seed=traffic.seed)
        assert count_statuses(evidence) == {"DELIVERED": AT_ONCE}
        assert count_copies(evidence) == {1: AT_ONCE}


@pytest.mark.parametrize("accepted", [True, False])
async def test_a_worker_frozen_during_a_call_changes_nothing_after_its_lease(accepted: bool, tmp_path: Path) -> None:
    async with system_under_test(tmp_path, Plan(workers=2)) as system:
        frozen, other = system.workers
        await other.kill()
        traffic = sms_traffic(system, "in the middle of a call")
        await system.control.arm("twilio", "timeout", always=True, seconds=2, accepted=accepted)
        await send(traffic, NUMBER)
        await until(lambda: count_triggered(system), lambda found: found >= NUMBER, PATIENCE)
        frozen.freeze()
        await system.control.disarm("twilio")
        await system.expire_leases()
        await other.start()
        query = "SELECT count(*) FROM messages WHERE lease_until IS NOT NULL"
        await until(lambda: system.stores.fetch(query), lambda rows: rows[0][0] == 0, PATIENCE)
        frozen.thaw()
        evidence = await settle_and_check(system, traffic, seed=traffic.seed)
        assert count_copies(evidence)[1 if accepted else 0] == NUMBER
        if accepted:
            assert count_statuses(evidence) == {"DELIVERED": NUMBER}
