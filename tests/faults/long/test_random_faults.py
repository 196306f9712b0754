"""All faults at once, a minute for each of many seeds: at least 500 faults and 50 workers killed under load."""

import os
from pathlib import Path

import pytest

from tests.faults.faults import NETWORK_FAULTS, OWN_FAULTS, PROVIDER_FAULTS
from tests.faults.runs import FaultMix, Figures, PrintLine, run_faults
from tests.faults.system import Plan

SEEDS = (os.environ.get("FAULT_SEEDS") or "11 12 13 14 15 16 17 18 19 20").split()
SECONDS = float(os.environ.get("FAULT_SECONDS") or 60)
FAULTS, KILLS = 500, 50

_all: list[Figures] = []


@pytest.mark.parametrize("seed", SEEDS)
async def test_under_random_faults_nothing_is_lost_or_sent_twice(
    seed: str, tmp_path: Path, print_line: PrintLine
) -> None:
    mixture = FaultMix({"own": OWN_FAULTS + NETWORK_FAULTS, "providers": PROVIDER_FAULTS}, seconds=SECONDS)
    found = await run_faults(tmp_path, seed, mixture, print_line, Plan(workers=3, tenants=3))
    assert found.unrecovered == 0
    assert found.ever_unconfirmed <= 2 * found.left_open
    _all.append(found)


def test_the_runs_injected_enough_faults(print_line: PrintLine) -> None:
    faults, kills = sum(one.faults for one in _all), sum(one.kills_under_load for one in _all)
    accepted, doubled = sum(one.accepted for one in _all), sum(one.doubled for one in _all)
    worst = max((one.worst_recovery for one in _all), default=0.0)
    print_line(
        f"{len(_all)} seeds: faults {faults}, workers killed with work in hand {kills}, accepted {accepted}, "
        f"doubled {doubled}, lost {sum(one.lost for one in _all)}, worst recovery {worst:.1f} s"
    )
    share = len(_all) * SECONDS / 600
    assert faults >= FAULTS * min(1, share)
    assert kills >= KILLS * min(1, share)
