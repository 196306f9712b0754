"""PostgreSQL ends connections, crashes, is away, stalls, or has no free connections."""

import asyncio
import os
import time
from pathlib import Path
from random import Random

from tests.faults.faults import Fault, crash_postgres, terminate_backends
from tests.faults.runs import FaultMix, PrintLine, run_faults, settle_and_check
from tests.faults.steps import count_statuses, send, sms_traffic
from tests.faults.system import Plan, system_under_test
from tests.faults.traffic import TryAgain
from tests.helpers import until

SECONDS = float(os.environ.get("FAULT_SECONDS") or 150)
COMMAND = 15.0
"""Seconds after which a database command is stopped."""
SLOW_COMMIT = """
CREATE FUNCTION be_slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(3); RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER slow_commit AFTER INSERT ON messages DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION be_slow();
"""


async def test_the_system_recovers_from_terminated_connections_and_crashes_of_postgresql(
    tmp_path: Path, print_line: PrintLine
) -> None:
    faults = [
        Fault("every back-end terminated", terminate_backends, weight=2),
        Fault("crashed", crash_postgres, weight=2, lasts=(0.2, 2)),
        Fault("away for 12 s", crash_postgres, lasts=(12, 12)),
    ]
    mixture = FaultMix({"own": faults}, seconds=SECONDS, pause=(2, 5))
    found = await run_faults(tmp_path, "postgresql", mixture, print_line, Plan(workers=2))
    assert found.unrecovered == 0
    assert found.doubled == 0


async def test_no_request_hangs_when_database_connections_stall(tmp_path: Path) -> None:
    async with system_under_test(tmp_path, Plan(workers=1)) as system:
        traffic = sms_traffic(system, "half open")
        await send(traffic, 10)
        system.proxies["api-postgres"].stall()
        system.proxies["worker-postgres"].stall()
        began = time.monotonic()
        report = await system.readiness()
        assert report is not None
        assert not report["parts"]["postgres"]["ok"]
        assert (took := time.monotonic() - began) < 4.5, f"it took {took:.1f} s to say so"
        requests = [asyncio.create_task(traffic.send(traffic.draw(_chance()))) for _ in range(5)]
        done, waiting = await asyncio.wait(requests, timeout=COMMAND + 4)
        assert not waiting, "requests hang"
        assert all(isinstance(one.exception(), TryAgain) for one in done)
        await system.proxies["api-postgres"].heal()
        await system.proxies["worker-postgres"].heal()
        began = time.monotonic()
        await send(traffic, 10)
        assert time.monotonic() - began < 10
        await until(system.is_ready, bool, 20)
        evidence = await settle_and_check(system, traffic, seed=traffic.seed)
        assert count_statuses(evidence, traffic.accepted) == {"DELIVERED": 20}


async def test_without_free_database_connections_clients_are_told_to_retry(tmp_path: Path) -> None:
    async with system_under_test(tmp_path, Plan(workers=1)) as system:
        await system.stores.execute(SLOW_COMMIT)
        traffic = sms_traffic(system, "no place")
        began = time.monotonic()
        outcomes = await asyncio.gather(
            *(traffic.send(traffic.draw(_chance())) for _ in range(50)), return_exceptions=True
        )
        assert time.monotonic() - began < 15
        refused = [one for one in outcomes if isinstance(one, TryAgain)]
        assert all(isinstance(one, TryAgain) or one is not None for one in outcomes), outcomes
        assert refused, "no request was refused"
        # A request stopped in the middle of its commit says that it was given up: it may be repeated with its key.
        known = ("nothing was stored", "was given up")
        assert all(any(words in one.answered for words in known) for one in refused), refused
        await system.stores.execute("DROP TRIGGER slow_commit ON messages")
        await send(traffic, 10)
        evidence = await settle_and_check(system, traffic, seed=traffic.seed)
        assert set(count_statuses(evidence)) == {"DELIVERED"}


def _chance() -> Random:
    return Random()
