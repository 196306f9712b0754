"""A provider that answers one byte at a time keeps a worker for the deadline of a call at most."""

from pathlib import Path

from tests.faults.runs import settle_and_check
from tests.faults.steps import PATIENCE, count_ever, send, sms_traffic
from tests.faults.system import Plan, system_under_test
from tests.helpers import until

NUMBER = 20
LONGEST = 20.0
"""Seconds that a call may take at most."""


async def test_an_answer_that_arrives_byte_by_byte_ends_at_the_deadline(tmp_path: Path) -> None:
    async with system_under_test(tmp_path, Plan(workers=1)) as system:
        traffic = sms_traffic(system, "slow answer")
        system.proxies["twilio"].rate = 20.0
        await send(traffic, NUMBER)
        query = "SELECT extract(epoch FROM finished_at - started_at) FROM attempts WHERE finished_at IS NOT NULL"
        rows = await until(lambda: system.stores.fetch(query), lambda found: len(found) >= NUMBER, PATIENCE)
        assert all(row[0] < LONGEST + 1.5 for row in rows), [float(row[0]) for row in rows]
        await system.proxies["twilio"].heal()
        system.proxies["twilio"].cut(reset=True)
        evidence = await settle_and_check(system, traffic, seed=traffic.seed)
        assert count_ever(evidence, "UNCONFIRMED") == NUMBER
