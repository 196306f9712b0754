"""A run of the system under faults: they are drawn by a seed and injected, then figures and invariants are checked."""

import asyncio
import os
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import TypeVar

from tests.faults.evidence import Evidence, gather_evidence, tracebacks, wait_until_quiet
from tests.faults.faults import Fault
from tests.faults.invariants import breaches, check
from tests.faults.system import Plan, SystemUnderTest, system_under_test
from tests.faults.traffic import Traffic

Answer = TypeVar("Answer")
PrintLine = Callable[[str], None]
"""Prints one line past the capture of pytest."""

RECOVERY_LIMIT = 90.0


@dataclass
class InjectedFault:
    """A fault that happened."""

    name: str
    at: float
    lasted: float
    is_probed: bool
    recovered_in: float | None = None


@dataclass(eq=False)
class FaultInjector:
    """Strikes a city. The same seed draws the same faults in the same order, lane by lane."""

    city: SystemUnderTest
    traffic: Traffic
    seed: str
    struck: list[InjectedFault] = field(default_factory=list)
    _probes: set[asyncio.Task[None]] = field(default_factory=set)
    _began: float = field(default_factory=time.monotonic)

    async def rage(
        self,
        faults: Sequence[Fault],
        *,
        seconds: float,
        lane: str,
        pause: tuple[float, float] = (0.2, 1.0),
        probe: bool = True,
    ) -> None:
        """Strike one after the other for so long, drawn as from a deck of cards: none comes twice while others wait."""
        chance = Random(f"{self.seed}:{lane}")
        end = time.monotonic() + seconds
        deck: list[Fault] = []
        while time.monotonic() < end:
            if not deck:
                deck = [fault for fault in faults for _ in range(fault.weight)]
                chance.shuffle(deck)
            await self.strike(deck.pop(), chance, probe=probe)
            await asyncio.sleep(chance.uniform(*pause))

    async def strike(self, fault: Fault, chance: Random, *, probe: bool = True) -> InjectedFault:
        """One fault, from its beginning to its end."""
        began = time.monotonic()
        heal = await fault.inject(self.city, chance)
        await asyncio.sleep(chance.uniform(*fault.lasts))
        await heal()
        struck = InjectedFault(fault.name, began - self._began, time.monotonic() - began, probe)
        self.struck.append(struck)
        if probe:
            task = asyncio.create_task(self._probe(struck, Random(f"{self.seed}:probe:{len(self.struck)}")))
            self._probes.add(task)
        return struck

    async def settle(self) -> None:
        """Wait for the last probes."""
        await asyncio.gather(*self._probes)

    async def _probe(self, struck: InjectedFault, chance: Random) -> None:
        """How long until a new e-mail is taken and has left us. E-mail, since Twilio's own troubles are not ours."""
        began = time.monotonic()
        number = next(self.city.numbers)
        order = self.traffic.draw(chance)
        order = type(order)(order.tenant, f"probe-{number}", "EMAIL", f"sonda{number}@loja.example.com")
        acked = await self.traffic.insist(order, RECOVERY_LIMIT)
        if acked is None:
            return
        query = "SELECT status FROM messages WHERE tenant_id = $1 AND id = $2"
        while time.monotonic() - began < RECOVERY_LIMIT:
            if (found := await _asked(self.city.cellar.fetch(query, order.tenant, acked.message_id))) and found[0][
                "status"
            ] not in ("QUEUED", "SENDING"):
                struck.recovered_in = time.monotonic() - began
                return
            await asyncio.sleep(0.2)


async def _asked(question: Awaitable[Answer]) -> Answer | None:
    """The answer, or None while the database is away."""
    try:
        return await question
    except Exception:
        return None


def seed_of_run(default: int) -> str:
    """FAULT_SEED, or the one given."""
    return os.environ.get("FAULT_SEED") or str(default)


# A run in figures.


VISIBLE_ENDS = ("FAILED", "CANCELED", "EXPIRED")


@dataclass(frozen=True)
class Figures:
    """What came of a run."""

    seed: str
    accepted: int
    delivered: int
    sent: int
    ended: int
    unconfirmed: int
    doubled: int
    lost: int
    faults: int
    kills: int
    kills_under_load: int
    ambiguous: int
    left_open: int
    """Answers that faults left open: companies' own, connections broken under calls, workers killed in the middle."""
    ever_unconfirmed: int
    worst_recovery: float
    worst_fault: str
    unrecovered: int
    p50: float
    p99: float
    waits: int
    tracebacks: int

    def line(self) -> str:
        """The figures as one paragraph for people."""
        return (
            f"seed {self.seed}: accepted {self.accepted}, delivered {self.delivered}, sent {self.sent}, "
            f"ended visibly {self.ended}, unconfirmed {self.unconfirmed} (ever: {self.ever_unconfirmed}, "
            f"answers left open by companies: {self.ambiguous}), doubled {self.doubled}, lost {self.lost}; "
            f"faults {self.faults}, workers killed {self.kills} (with work in hand: {self.kills_under_load}); "
            f"worst recovery {self.worst_recovery:.1f} s ({self.worst_fault}), not recovered {self.unrecovered}; "
            f"accepting p50 {self.p50 * 1000:.0f} ms, p99 {self.p99 * 1000:.0f} ms, asked again {self.waits}; "
            f"tracebacks {self.tracebacks}"
        )


def reasons(evidence: Evidence) -> Counter[str]:
    """Why attempts came to be unconfirmed, and how often."""
    return Counter(
        event["detail"]
        for events in evidence.events.values()
        for event in events
        if event["status"] == "UNCONFIRMED" and event["previous_status"] != "UNCONFIRMED"
    )


def figures_of(storm: FaultInjector, evidence: Evidence) -> Figures:
    """Count."""
    promised = {acked.message_id for acked in evidence.acked}
    statuses = Counter(evidence.messages[one]["status"] for one in promised if one in evidence.messages)
    took = sorted(acked.took for acked in evidence.acked) or [0.0]
    recoveries = [(one.recovered_in or 0.0, one.name) for one in storm.struck]
    worst, name = max(recoveries, default=(0.0, "none"))
    return Figures(
        seed=storm.seed,
        accepted=len(promised),
        delivered=statuses["DELIVERED"] + statuses["READ"],
        sent=statuses["SENT"],
        ended=sum(statuses[one] for one in VISIBLE_ENDS),
        unconfirmed=statuses["UNCONFIRMED"],
        doubled=sum(len(copies) > 1 for copies in evidence.copies.values()),
        lost=sum(one not in evidence.messages for one in promised),
        faults=len(storm.struck),
        kills=storm.city.kills,
        kills_under_load=storm.city.kills_under_load,
        ambiguous=storm.city.ambiguous,
        left_open=storm.city.ambiguous + storm.city.wires["twilio"].broken + storm.city.left_in_hand,
        ever_unconfirmed=sum(
            any(event["status"] == "UNCONFIRMED" for event in events) for events in evidence.events.values()
        ),
        worst_recovery=worst,
        worst_fault=name,
        unrecovered=sum(one.is_probed and one.recovered_in is None for one in storm.struck),
        p50=took[len(took) // 2],
        p99=took[int(len(took) * 0.99)],
        waits=storm.traffic.waits,
        tracebacks=len(tracebacks(evidence.logs)),
    )


# One run from its beginning to its judgement: a city, traffic, a storm, calm, figures, invariants.


REST_LIMIT = 75.0
"""Seconds in which everything must have come to rest after the last fault: longer than a lease."""


@dataclass(frozen=True)
class FaultMix:
    """A storm's lanes, each struck in its own rhythm, for so many seconds, under so many clients."""

    lanes: dict[str, Sequence[Fault]]
    seconds: float
    clients: int = 6
    pause: tuple[float, float] = (0.2, 1.0)
    climate: float | None = 0.3
    """Every third answer of Twilio's takes so long: whoever is killed then has something in hand."""


async def settle_and_check(city: SystemUnderTest, traffic: Traffic, *, seed: str, calm: float = REST_LIMIT) -> Evidence:
    """Let a city come to rest, and look whether everything holds."""
    await wait_until_quiet(city, calm)
    evidence = await gather_evidence(city, traffic)
    check(evidence, seed=seed)
    return evidence


async def run_faults(folder: Path, seed: str, mixture: FaultMix, tell: PrintLine, plan: Plan | None = None) -> Figures:
    """Run a mixture of faults and judge it."""
    tell(f"faults: seed {seed} (FAULT_SEED={seed} repeats it)")
    async with system_under_test(folder, plan) as city:
        traffic = Traffic(city, seed)
        storm = FaultInjector(city, traffic, seed)
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
        rested = await wait_until_quiet(city, REST_LIMIT)
        evidence = await gather_evidence(city, traffic)
        found = figures_of(storm, evidence)
        tell(f"{found.line()}; at rest after {rested:.0f} s")
        for reason, number in reasons(evidence).most_common():
            tell(f"  unconfirmed {number} times: {reason}")
        for line in sorted(set(tracebacks(evidence.logs))):
            tell(f"  traceback: {line}")
        if breaches(evidence):
            tell("  struck: " + ", ".join(f"{one.at:.1f} {one.name}" for one in storm.struck))
        check(evidence, seed=seed)
        return found
