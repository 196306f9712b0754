"""Checks the fault tests: each safeguard is switched off in turn, and the test named for it must fail.

`python -m tests.faults.mutations [WORD …]` runs those whose names contain one of the words, or all. First each test
runs with all safeguards: one that fails anyway proves nothing.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from tests.faults.patches import USED
from tests.faults.switched_off import SAFEGUARDS, WITHOUT, Safeguard

ROOT = Path(__file__).parents[2]
LONG = "tests/faults/long"
SMALL = {"FAULT_ROUNDS": "1", "FAULT_NUMBER": "5", "FAULT_SECONDS": "20", "FAULT_MANY": "40"}
"""Small sizes that still show a missing safeguard."""
LIMIT = 600.0
GREEN, RED = 0, 1


def run_test(test: str, settings: Mapping[str, str] | None = None) -> tuple[int, str]:
    """Run one test; return its exit status and its output."""
    environment = {**os.environ, **{name: os.environ.get(name, size) for name, size in SMALL.items()}}
    command = [sys.executable, "-m", "pytest", f"{LONG}/{test}", "-q"]
    ran = subprocess.run(
        command,
        cwd=ROOT,
        env=environment | dict(settings or {}),
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    return ran.returncode, ran.stdout + ran.stderr


def is_noticed(safeguard: Safeguard) -> bool:
    """Whether the test fails without the safeguard, and not because the system does not start."""
    with tempfile.TemporaryDirectory(prefix="interalpha-mutation-") as folder:
        used = Path(folder) / "used"
        # The product's processes must find `tests.faults.switched_off`.
        settings = {WITHOUT: safeguard.switch_off.__name__, USED: str(used), "PYTHONPATH": str(ROOT)}
        status, output = run_test(safeguard.test, settings)
        is_used = used.exists()
    if status == RED and is_used and "NotStarted" not in output:
        reason = next((line for line in output.splitlines() if line.startswith("E  ")), "E  ?")
        sys.stdout.write(f"  noticed: {safeguard.name}: {reason[2:].strip()[:140]}\n")
        return True
    why = f"exit status {status}" if is_used else f"NOT USED, exit status {status}"
    sys.stdout.write(f"  NOT NOTICED ({why}): {safeguard.name}\n{output[-2_000:]}\n")
    return False


def main(words: list[str]) -> int:
    """Run the tests with their safeguards, then without."""
    chosen = [one for one in SAFEGUARDS.values() if not words or any(word in one.name for word in words)]
    for test in dict.fromkeys(one.test for one in chosen):
        status, output = run_test(test)
        sys.stdout.write(f"  with all safeguards: {'green' if status == GREEN else 'RED'}: {test}\n")
        if status != GREEN:
            sys.stdout.write(output[-2_000:])
            return RED
    noticed = [is_noticed(one) for one in chosen]
    sys.stdout.write(f"mutations: {sum(noticed)} of {len(chosen)} noticed\n")
    return GREEN if chosen and all(noticed) else RED


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
