"""A minute of faults, drawn by a seed: what was promised arrives or visibly ends, once."""

import os
from pathlib import Path

from tests.faults.city import Plan
from tests.faults.company_faults import COMPANIES
from tests.faults.conftest import Tell
from tests.faults.faults import HOUSE
from tests.faults.runs import Mixture, weather
from tests.faults.storm import seed_of_this_run

SECONDS = float(os.environ.get("FAULT_SECONDS") or 30)


async def test_a_minute_of_faults_loses_nothing_and_doubles_nothing(tmp_path: Path, tell: Tell) -> None:
    mixture = Mixture({"house": HOUSE, "companies": COMPANIES}, seconds=SECONDS)
    found = await weather(tmp_path, seed_of_this_run(1), mixture, tell, Plan(workers=2, tenants=2))
    assert found.faults >= SECONDS / 2
    assert found.kills >= 2
    assert found.unrecovered == 0
