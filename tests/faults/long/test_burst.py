"""Thousands of messages at once from five tenants, one of them noisy: each is delivered once."""

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
"""The noisy tenant's share of the burst."""
LONGEST = float(os.environ.get("FAULT_BURST_SECONDS") or 1_200)


async def test_a_burst_from_five_tenants_is_delivered_completely(tmp_path: Path, print_line: PrintLine) -> None:
    async with system_under_test(tmp_path, Plan(workers=2, tenants=5, within=3 * LONGEST)) as system:
        traffic = sms_traffic(system, "burst")
        chance = Random(1)
        noisy, *quiet = system.tenants
        orders = [traffic.draw(chance, noisy) for _ in range(int(BURST * NOISY))]
        orders += [traffic.draw(chance, chance.choice(quiet)) for _ in range(BURST - len(orders))]
        # The noisy tenant is first: the others must not wait until all of its messages are sent.
        began = time.monotonic()
        await traffic.send_all(orders, at_once=60)
        accepting = time.monotonic() - began
        took = sorted(accepted.took for accepted in traffic.accepted)
        await until(lambda: waiting(system), lambda found: found == 0, LONGEST)
        everything = time.monotonic() - began
        evidence = await settle_and_check(system, traffic, seed=traffic.seed)
        print_line(
            f"burst: {BURST} accepted at {BURST / accepting:.0f}/s, p50 {took[len(took) // 2] * 1000:.0f} ms, "
            f"p99 {took[int(len(took) * 0.99)] * 1000:.0f} ms; all sent after {everything:.0f} s"
        )
        for name, tenants in (("noisy", [noisy]), ("quiet", quiet)):
            rows = await system.stores.fetch(
                "SELECT percentile_cont(0.95) WITHIN GROUP (ORDER BY extract(epoch FROM sent_at - created_at)) AS p95"
                " FROM messages WHERE tenant_id = ANY($1)",
                tenants,
            )
            print_line(f"  {name}: 95 of 100 were accepted by the provider after {rows[0]['p95']:.1f} s")
        assert count_statuses(evidence) == {"DELIVERED": BURST}


async def waiting(system: SystemUnderTest) -> int:
    [row] = await system.stores.fetch("SELECT count(*) FROM messages WHERE status IN ('QUEUED', 'SENDING')")
    return int(row[0])
