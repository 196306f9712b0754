"""One run from its beginning to its judgement: a city, traffic, a storm, calm, figures, invariants."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.faults.city import City, Plan, built
from tests.faults.conftest import Tell
from tests.faults.evidence import Evidence, gather, quiesce, tracebacks
from tests.faults.faults import Fault
from tests.faults.figures import Figures, figures, reasons
from tests.faults.invariants import breaches, check
from tests.faults.storm import Storm
from tests.faults.traffic import Traffic

CALM = 75.0
"""Seconds in which everything must have come to rest after the last fault: longer than a lease."""


@dataclass(frozen=True)
class Mixture:
    """A storm's lanes, each struck in its own rhythm, for so many seconds, under so many clients."""

    lanes: dict[str, Sequence[Fault]]
    seconds: float
    clients: int = 6
    pause: tuple[float, float] = (0.2, 1.0)
    climate: float | None = 0.3
    """Every third answer of Twilio's takes so long: whoever is killed then has something in hand."""


async def judge(city: City, traffic: Traffic, *, seed: str, calm: float = CALM) -> Evidence:
    """Let a city come to rest, and look whether everything holds."""
    await quiesce(city, calm)
    evidence = await gather(city, traffic)
    check(evidence, seed=seed)
    return evidence


async def weather(folder: Path, seed: str, mixture: Mixture, tell: Tell, plan: Plan | None = None) -> Figures:
    """Run a mixture of faults and judge it."""
    tell(f"faults: seed {seed} (FAULT_SEED={seed} repeats it)")
    async with built(folder, plan) as city:
        traffic = Traffic(city, seed)
        storm = Storm(city, traffic, seed)
        if mixture.climate:
            await city.control.arm("twilio", "slow", every=3, seconds=mixture.climate)
        async with traffic.flowing(mixture.clients):
            rages = [
                storm.rage(faults, seconds=mixture.seconds, lane=lane, pause=mixture.pause, probe=lane == "house")
                for lane, faults in mixture.lanes.items()
            ]
            await asyncio.gather(*rages)
            await city.heal()
        await storm.settle()
        rested = await quiesce(city, CALM)
        evidence = await gather(city, traffic)
        found = figures(storm, evidence)
        tell(f"{found.line()}; at rest after {rested:.0f} s")
        for reason, number in reasons(evidence).most_common():
            tell(f"  unconfirmed {number} times: {reason}")
        for line in sorted(set(tracebacks(evidence.logs))):
            tell(f"  traceback: {line}")
        if breaches(evidence):
            tell("  struck: " + ", ".join(f"{one.at:.1f} {one.name}" for one in storm.struck))
        check(evidence, seed=seed)
        return found
