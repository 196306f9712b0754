"""F7, F8 and F10: PostgreSQL terminated, crashed, away, half open, or with no place left."""

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
"""Seconds after which a command to the database is given up."""
SLOW_COMMIT = """
CREATE FUNCTION be_slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(3); RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER slow_commit AFTER INSERT ON messages DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION be_slow();
"""


async def test_postgresql_may_be_terminated_crash_and_stay_away(tmp_path: Path, tell: PrintLine) -> None:
    faults = [
        Fault("every back-end terminated", terminate_backends, weight=2),
        Fault("crashed", crash_postgres, weight=2, lasts=(0.2, 2)),
        Fault("away for 12 s", crash_postgres, lasts=(12, 12)),
    ]
    mixture = FaultMix({"house": faults}, seconds=SECONDS, pause=(2, 5))
    found = await run_faults(tmp_path, "postgresql", mixture, tell, Plan(workers=2))
    assert found.unrecovered == 0
    assert found.doubled == 0


async def test_a_half_open_database_hangs_nobody(tmp_path: Path) -> None:
    async with system_under_test(tmp_path, Plan(workers=1)) as city:
        traffic = sms_traffic(city, "half open")
        await send(traffic, 10)
        city.wires["api-postgres"].swallow()
        city.wires["worker-postgres"].swallow()
        began = time.monotonic()
        report = await city.readiness()
        assert report is not None
        assert not report["parts"]["postgres"]["ok"]
        assert (took := time.monotonic() - began) < 4.5, f"it took {took:.1f} s to say so"
        requests = [asyncio.create_task(traffic.send(traffic.draw(_chance()))) for _ in range(5)]
        done, waiting = await asyncio.wait(requests, timeout=COMMAND + 4)
        assert not waiting, "requests hang"
        assert all(isinstance(one.exception(), TryAgain) for one in done)
        await city.wires["api-postgres"].heal()
        await city.wires["worker-postgres"].heal()
        began = time.monotonic()
        await send(traffic, 10)
        assert time.monotonic() - began < 10
        await until(city.is_ready, bool, 20)
        evidence = await settle_and_check(city, traffic, seed=traffic.seed)
        assert count_statuses(evidence, traffic.acked) == {"DELIVERED": 20}


async def test_without_a_place_at_the_database_clients_are_told_when_to_come_again(tmp_path: Path) -> None:
    async with system_under_test(tmp_path, Plan(workers=1)) as city:
        await city.cellar.execute(SLOW_COMMIT)
        traffic = sms_traffic(city, "no place")
        began = time.monotonic()
        outcomes = await asyncio.gather(
            *(traffic.send(traffic.draw(_chance())) for _ in range(50)), return_exceptions=True
        )
        assert time.monotonic() - began < 15
        refused = [one for one in outcomes if isinstance(one, TryAgain)]
        assert all(isinstance(one, TryAgain) or one is not None for one in outcomes), outcomes
        assert refused, "there was a place for everybody"
        # Or, when its time was over in the middle of a commit, that it was given up: under its key it may be repeated.
        known = ("nothing was stored", "was given up")
        assert all(any(words in one.answered for words in known) for one in refused), refused
        await city.cellar.execute("DROP TRIGGER slow_commit ON messages")
        await send(traffic, 10)
        evidence = await settle_and_check(city, traffic, seed=traffic.seed)
        assert set(count_statuses(evidence)) == {"DELIVERED"}


def _chance() -> Random:
    return Random()
