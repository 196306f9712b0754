"""F2: a worker sleeps past its leases and wakes: whatever it still wants to do, others have done meanwhile."""

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


async def test_who_wakes_between_claim_and_begin_sends_nothing_that_is_another_s_by_then(tmp_path: Path) -> None:
    async with system_under_test(tmp_path, Plan(workers=2)) as city:
        sleeper, other = city.workers
        await asyncio.gather(sleeper.kill(), other.kill())
        traffic = sms_traffic(city, "between claim and begin")
        await send_answers(traffic, NUMBER)
        city.wires["worker-postgres"].latency = 0.3
        await sleeper.start()
        await wait_until_claimed(city)
        sleeper.freeze()
        city.wires["worker-postgres"].latency = 0
        claimed = await count_claimed_and_not_begun(city)
        assert claimed > 0, "it had begun already"
        # What the sleeper was admitted for would count as written already, and the other one would wait for its turn.
        await city.cellar.flush()
        # The other one is in the middle of its calls when the sleeper wakes.
        await city.control.arm("whatsapp", "slow", always=True, seconds=3)
        await city.let_leases_end()
        await other.start()
        await wait_until_in_flight(city, NUMBER)
        sleeper.thaw()
        evidence = await settle_and_check(city, traffic, seed=traffic.seed)
        assert count_statuses(evidence) == {"DELIVERED": NUMBER}
        assert count_copies(evidence) == {1: NUMBER}


@pytest.mark.parametrize("accepted", [True, False])
async def test_who_wakes_after_its_call_was_given_up_does_no_harm(accepted: bool, tmp_path: Path) -> None:
    async with system_under_test(tmp_path, Plan(workers=2)) as city:
        sleeper, other = city.workers
        await other.kill()
        traffic = sms_traffic(city, "in the middle of a call")
        await city.control.arm("twilio", "timeout", always=True, seconds=2, accepted=accepted)
        await send(traffic, NUMBER)
        await until(lambda: count_triggered(city), lambda found: found >= NUMBER, PATIENCE)
        sleeper.freeze()
        await city.control.disarm("twilio")
        await city.let_leases_end()
        await other.start()
        query = "SELECT count(*) FROM messages WHERE lease_until IS NOT NULL"
        await until(lambda: city.cellar.fetch(query), lambda rows: rows[0][0] == 0, PATIENCE)
        sleeper.thaw()
        evidence = await settle_and_check(city, traffic, seed=traffic.seed)
        assert count_copies(evidence)[1 if accepted else 0] == NUMBER
        if accepted:
            assert count_statuses(evidence) == {"DELIVERED": NUMBER}
