"""The clock of a worker or of the API is an hour wrong. Only the database's clock decides what is due."""

import os
from pathlib import Path

import pytest

from tests.faults.faults import PROVIDER_FAULTS, Fault, flush_valkey, kill_worker, terminate_backends
from tests.faults.runs import FaultMix, PrintLine, run_faults
from tests.faults.system import Plan

SECONDS = float(os.environ.get("FAULT_SECONDS") or 30)
HOUR = 3_600.0
FAULTS = (
    Fault("a worker killed", kill_worker, lasts=(0.1, 0.5)),
    Fault("Valkey emptied", flush_valkey),
    Fault("every back-end terminated", terminate_backends),
)


@pytest.mark.parametrize(("api", "worker"), [(HOUR, 0), (-HOUR, 0), (0, HOUR), (0, -HOUR)])
async def test_a_wrong_clock_changes_nothing(api: float, worker: float, tmp_path: Path, print_line: PrintLine) -> None:
    lanes = {"own": FAULTS, "providers": PROVIDER_FAULTS}
    mixture = FaultMix(lanes, seconds=SECONDS, pause=(1, 3))
    plan = Plan(workers=2, api_skew=api, worker_skew=worker)
    found = await run_faults(tmp_path, f"clocks {api:+.0f} {worker:+.0f}", mixture, print_line, plan)
    assert found.accepted > 0
    assert found.unrecovered == 0
