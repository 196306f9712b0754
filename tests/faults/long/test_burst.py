"""F20: thousands at once over five tenants, one of them noisy. All of them arrive, once; the figures are printed."""

import os
import time
from pathlib import Path
from random import Random

from tests.faults.runs import PrintLine, settle_and_check
from tests.faults.steps import count_statuses, sms_traffic
from tests.faults.system import Plan, SystemUnderTest, system_under_test
from tests.helpers import until

BURST = int(os.environ.get("FAULT_BURST") or 10_000)
NOISY = 0.8
"""The share of the burst that is one tenant's."""
LONGEST = float(os.environ.get("FAULT_BURST_SECONDS") or 1_200)


async def test_a_burst_over_five_tenants_arrives_whole(tmp_path: Path, tell: PrintLine) -> None:
    async with system_under_test(tmp_path, Plan(workers=2, tenants=5, within=3 * LONGEST)) as city:
        traffic = sms_traffic(city, "burst")
        chance = Random(1)
        noisy, *quiet = city.tenants
        orders = [traffic.draw(chance, noisy) for _ in range(int(BURST * NOISY))]
        orders += [traffic.draw(chance, chance.choice(quiet)) for _ in range(BURST - len(orders))]
        # The noisy one comes first: whoever came later must not wait behind all of it.
        began = time.monotonic()
        await traffic.burst(orders, at_once=60)
        accepting = time.monotonic() - began
        took = sorted(acked.took for acked in traffic.acked)
        await until(lambda: waiting(city), lambda found: found == 0, LONGEST)
        everything = time.monotonic() - began
        evidence = await settle_and_check(city, traffic, seed=traffic.seed)
        tell(
            f"burst: {BURST} accepted at {BURST / accepting:.0f}/s, p50 {took[len(took) // 2] * 1000:.0f} ms, "
            f"p99 {took[int(len(took) * 0.99)] * 1000:.0f} ms; all sent after {everything:.0f} s"
        )
        for name, tenants in (("noisy", [noisy]), ("quiet", quiet)):
            rows = await city.cellar.fetch(
                "SELECT percentile_cont(0.95) WITHIN GROUP (ORDER BY extract(epoch FROM sent_at - created_at)) AS p95"
                " FROM messages WHERE tenant_id = ANY($1)",
                tenants,
            )
            tell(f"  {name}: 95 of 100 were with the company after {rows[0]['p95']:.1f} s")
        assert count_statuses(evidence) == {"DELIVERED": BURST}


async def waiting(city: SystemUnderTest) -> int:
    [row] = await city.cellar.fetch("SELECT count(*) FROM messages WHERE status IN ('QUEUED', 'SENDING')")
    return int(row[0])
