"""A minute of faults, drawn by a seed: what was promised arrives or visibly ends, once."""

import os
from pathlib import Path

from tests.faults.faults import OWN_FAULTS, PROVIDER_FAULTS
from tests.faults.runs import FaultMix, PrintLine, run_faults, seed_of_run
from tests.faults.system import Plan

SECONDS = float(os.environ.get("FAULT_SECONDS") or 30)


async def test_a_minute_of_faults_loses_nothing_and_doubles_nothing(tmp_path: Path, tell: PrintLine) -> None:
    mixture = FaultMix({"house": OWN_FAULTS, "companies": PROVIDER_FAULTS}, seconds=SECONDS)
    found = await run_faults(tmp_path, seed_of_run(1), mixture, tell, Plan(workers=2, tenants=2))
    assert found.faults >= SECONDS / 2
    assert found.kills >= 2
    assert found.unrecovered == 0
