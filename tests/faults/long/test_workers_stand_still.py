"""Workers run and do nothing: the health check reports it in time."""

from pathlib import Path

from tests.faults.runs import settle_and_check
from tests.faults.steps import count_statuses, send, sms_traffic
from tests.faults.system import Plan, system_under_test
from tests.helpers import until

NOTICED = 60.0


async def test_workers_that_stand_still_are_reported_within_a_minute_and_catch_up_afterwards(tmp_path: Path) -> None:
    async with system_under_test(tmp_path, Plan(workers=2)) as system:
        traffic = sms_traffic(system, "standing still")
        await send(traffic, 10)
        for worker in system.workers:
            worker.freeze()
        report = await until(system.readiness, lambda found: found is not None and found["status"] != "ready", NOTICED)
        assert report is not None
        assert not report["parts"]["worker"]["ok"]
        assert report["parts"]["postgres"]["ok"]
        await send(traffic, 10)
        for worker in system.workers:
            worker.thaw()
        await until(system.is_ready, bool, 30)
        evidence = await settle_and_check(system, traffic, seed=traffic.seed)
        assert count_statuses(evidence) == {"DELIVERED": 20}
