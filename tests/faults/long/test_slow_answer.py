"""F13: a company that answers one byte at a time holds a worker no longer than one call may take."""

from pathlib import Path

from tests.faults.runs import settle_and_check
from tests.faults.steps import PATIENCE, count_ever, send, sms_traffic
from tests.faults.system import Plan, system_under_test
from tests.helpers import until

NUMBER = 20
LONGEST = 20.0
"""Seconds one call may take at most."""


async def test_a_dripping_answer_ends_with_the_call_s_time(tmp_path: Path) -> None:
    async with system_under_test(tmp_path, Plan(workers=1)) as city:
        traffic = sms_traffic(city, "dripping")
        city.wires["twilio"].rate = 20.0
        await send(traffic, NUMBER)
        query = "SELECT extract(epoch FROM finished_at - started_at) FROM attempts WHERE finished_at IS NOT NULL"
        rows = await until(lambda: city.cellar.fetch(query), lambda found: len(found) >= NUMBER, PATIENCE)
        assert all(row[0] < LONGEST + 1.5 for row in rows), [float(row[0]) for row in rows]
        await city.wires["twilio"].heal()
        city.wires["twilio"].cut(reset=True)
        evidence = await settle_and_check(city, traffic, seed=traffic.seed)
        assert count_ever(evidence, "UNCONFIRMED") == NUMBER
