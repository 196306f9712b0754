"""A minute of faults drawn by a seed: each accepted message is sent once or ends visibly."""

import os
from pathlib import Path

from tests.faults.faults import OWN_FAULTS, PROVIDER_FAULTS
from tests.faults.runs import FaultMix, PrintLine, run_faults, seed_of_run
from tests.faults.system import Plan

SECONDS = float(os.environ.get("FAULT_SECONDS") or 30)


async def test_a_minute_of_faults_loses_nothing_and_sends_nothing_twice(tmp_path: Path, print_line: PrintLine) -> None:
    mixture = FaultMix({"own": OWN_FAULTS, "providers": PROVIDER_FAULTS}, seconds=SECONDS)
    found = await run_faults(tmp_path, seed_of_run(1), mixture, print_line, Plan(workers=2, tenants=2))
    assert found.faults >= SECONDS / 2
    assert found.kills >= 2
    assert found.unrecovered == 0
