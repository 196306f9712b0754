"""Asks whether anything in a lock has a known weakness: `python -m devkit.audit requirements.lock …`.

Ends with 0 when every package was looked up and none is known to be weak, with 1 when one is, and with 2 when not all
could be looked up: a database that cannot be reached says nothing good of anybody.
"""

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SERVICES = ("pypi", "osv")
"""Whom to ask, first choice first; the second is asked when the first does not answer for everything."""
_TIMEOUT = 5


@dataclass(frozen=True, slots=True)
class Findings:
    """What one service said of the packages of a lock."""

    known: int
    skipped: int
    weaknesses: Sequence[str]


def ask(lock: Path, service: str) -> Findings | None:
    """Look every package up; None where the service cannot be asked at all."""
    options = ["--disable-pip", "--require-hashes", "--progress-spinner", "off", "--format", "json"]
    asked = [str(Path(sys.executable).with_name("pip-audit")), *options, "--timeout", str(_TIMEOUT)]
    done = subprocess.run(
        [*asked, "--vulnerability-service", service, "--requirement", str(lock)],
        capture_output=True,
        text=True,
        check=False,
    )
    try:
        return read(json.loads(done.stdout))
    except ValueError:
        return None


def read(told: dict[str, Any]) -> Findings:
    """Read pip-audit's answer."""
    packages = told["dependencies"]
    skipped = [one for one in packages if "skip_reason" in one]
    return Findings(len(packages) - len(skipped), len(skipped), list(_weaknesses(packages)))


def _weaknesses(packages: Sequence[dict[str, Any]]) -> Iterator[str]:
    for one in packages:
        for found in one.get("vulns", ()):
            mended = ", ".join(found["fix_versions"]) or "nothing yet"
            yield f"{one['name']} {one['version']}: {found['id']}, mended in {mended}"


def verdict(lock: str, answers: Sequence[Findings | None]) -> tuple[int, str]:
    """Say what the answers come to: an exit status and what to print."""
    heard = [one for one in answers if one is not None]
    weaknesses = sorted({text for one in heard for text in one.weaknesses})
    if weaknesses:
        return 1, "\n".join((f"{lock}: {len(weaknesses)} known weaknesses", *(f"  {text}" for text in weaknesses)))
    if whole := next((one for one in heard if one.known and not one.skipped), None):
        return 0, f"{lock}: {whole.known} packages, no known weakness"
    best = max((one.known for one in heard), default=0)
    reason = "no database of weaknesses could be reached" if best == 0 else f"only {best} packages could be looked up"
    return (
        2,
        f"{lock}: NOT AUDITED, {reason}. Run it where the internet can be reached; nothing was found, nor ruled out.",
    )


def main(locks: Sequence[str]) -> int:
    """Audit each lock; gives the worst exit status."""
    worst = 0
    for lock in locks:
        answers: list[Findings | None] = []
        for service in SERVICES:
            answers.append(ask(Path(lock), service))
            status, text = verdict(lock, answers)
            if status < 2:
                break
        sys.stdout.write(f"{text}\n")
        worst = max(worst, status) if 1 not in (worst, status) else 1
    return worst


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
