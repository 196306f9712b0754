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
    """Injects faults. The same seed draws the same faults in the same order, separately in each lane."""

    system: SystemUnderTest
    traffic: Traffic
    seed: str
    injected: list[InjectedFault] = field(default_factory=list)
    _probes: set[asyncio.Task[None]] = field(default_factory=set)
    _began: float = field(default_factory=time.monotonic)

    async def inject_for(
        self,
        faults: Sequence[Fault],
        *,
        seconds: float,
        lane: str,
        pause: tuple[float, float] = (0.2, 1.0),
        probe: bool = True,
    ) -> None:
        """Inject faults one after the other for so long; each is drawn once before any is drawn again."""
        chance = Random(f"{self.seed}:{lane}")
        end = time.monotonic() + seconds
        deck: list[Fault] = []
        while time.monotonic() < end:
            if not deck:
                deck = [fault for fault in faults for _ in range(fault.weight)]
                chance.shuffle(deck)
            await self.inject(deck.pop(), chance, probe=probe)
            await asyncio.sleep(chance.uniform(*pause))

    async def inject(self, fault: Fault, chance: Random, *, probe: bool = True) -> InjectedFault:
        """Inject one fault, let it last, and heal it."""
        began = time.monotonic()
        heal = await fault.inject(self.system, chance)
        await asyncio.sleep(chance.uniform(*fault.lasts))
        await heal()
        fault_seen = InjectedFault(fault.name, began - self._began, time.monotonic() - began, probe)
        self.injected.append(fault_seen)
        if probe:
            task = asyncio.create_task(self._probe(fault_seen, Random(f"{self.seed}:probe:{len(self.injected)}")))
            self._probes.add(task)
        return fault_seen

    async def wait_for_probes(self) -> None:
        """Wait for the last probes."""
        await asyncio.gather(*self._probes)

    async def _probe(self, injected: InjectedFault, chance: Random) -> None:
        """Measure how long until a new e-mail has been sent. Not an SMS: Twilio has faults of its own in these runs."""
        began = time.monotonic()
        number = next(self.system.numbers)
        order = self.traffic.draw(chance)
        order = type(order)(order.tenant, f"probe-{number}", "EMAIL", f"sonda{number}@loja.example.com")
        accepted = await self.traffic.send_until_answered(order, RECOVERY_LIMIT)
        if accepted is None:
            return
        query = "SELECT status FROM messages WHERE tenant_id = $1 AND id = $2"
        while time.monotonic() - began < RECOVERY_LIMIT:
            if (found := await _or_none(self.system.stores.fetch(query, order.tenant, accepted.message_id))) and found[
                0
            ]["status"] not in ("QUEUED", "SENDING"):
                injected.recovered_in = time.monotonic() - began
                return
            await asyncio.sleep(0.2)


async def _or_none(question: Awaitable[Answer]) -> Answer | None:
    """Return the answer, or None while the database cannot be reached."""
    try:
        return await question
    except Exception:
        return None


def seed_of_run(default: int) -> str:
    """Return FAULT_SEED, or the default."""
    return os.environ.get("FAULT_SEED") or str(default)


VISIBLE_ENDS = ("FAILED", "CANCELED", "EXPIRED")


@dataclass(frozen=True)
class Figures:
    """The results of a run in numbers."""

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
    """Answers that faults left open: providers' own, connections broken under calls, workers killed in the middle."""
    ever_unconfirmed: int
    worst_recovery: float
    worst_fault: str
    unrecovered: int
    p50: float
    p99: float
    retries: int
    tracebacks: int

    def line(self) -> str:
        """Return the figures as one line of text."""
        return (
            f"seed {self.seed}: accepted {self.accepted}, delivered {self.delivered}, sent {self.sent}, "
            f"ended visibly {self.ended}, unconfirmed {self.unconfirmed} (ever: {self.ever_unconfirmed}, "
            f"answers left open by providers: {self.ambiguous}), doubled {self.doubled}, lost {self.lost}; "
            f"faults {self.faults}, workers killed {self.kills} (with work in hand: {self.kills_under_load}); "
            f"worst recovery {self.worst_recovery:.1f} s ({self.worst_fault}), not recovered {self.unrecovered}; "
            f"accepting p50 {self.p50 * 1000:.0f} ms, p99 {self.p99 * 1000:.0f} ms, asked again {self.retries}; "
            f"tracebacks {self.tracebacks}"
        )


def reasons(evidence: Evidence) -> Counter[str]:
    """Count the reasons for which attempts became unconfirmed."""
    return Counter(
        event["detail"]
        for events in evidence.events.values()
        for event in events
        if event["status"] == "UNCONFIRMED" and event["previous_status"] != "UNCONFIRMED"
    )


def figures_of(injector: FaultInjector, evidence: Evidence) -> Figures:
    """Count what came of a run."""
    promised = {accepted.message_id for accepted in evidence.accepted}
    statuses = Counter(evidence.messages[one]["status"] for one in promised if one in evidence.messages)
    took = sorted(accepted.took for accepted in evidence.accepted) or [0.0]
    recoveries = [(one.recovered_in or 0.0, one.name) for one in injector.injected]
    worst, name = max(recoveries, default=(0.0, "none"))
    return Figures(
        seed=injector.seed,
        accepted=len(promised),
        delivered=statuses["DELIVERED"] + statuses["READ"],
        sent=statuses["SENT"],
        ended=sum(statuses[one] for one in VISIBLE_ENDS),
        unconfirmed=statuses["UNCONFIRMED"],
        doubled=sum(len(copies) > 1 for copies in evidence.copies.values()),
        lost=sum(one not in evidence.messages for one in promised),
        faults=len(injector.injected),
        kills=injector.system.kills,
        kills_under_load=injector.system.kills_under_load,
        ambiguous=injector.system.ambiguous,
        left_open=injector.system.ambiguous + injector.system.proxies["twilio"].broken + injector.system.left_sending,
        ever_unconfirmed=sum(
            any(event["status"] == "UNCONFIRMED" for event in events) for events in evidence.events.values()
        ),
        worst_recovery=worst,
        worst_fault=name,
        unrecovered=sum(one.is_probed and one.recovered_in is None for one in injector.injected),
        p50=took[len(took) // 2],
        p99=took[int(len(took) * 0.99)],
        retries=injector.traffic.retries,
        tracebacks=len(tracebacks(evidence.logs)),
    )


REST_LIMIT = 75.0
"""Seconds within which all work must be done after the last fault: longer than a lease."""


@dataclass(frozen=True)
class FaultMix:
    """Which faults are injected, in lanes that run beside each other, for how long and under how many clients."""

    lanes: dict[str, Sequence[Fault]]
    seconds: float
    clients: int = 6
    pause: tuple[float, float] = (0.2, 1.0)
    slow_answers: float | None = 0.3
    """Seconds that every third answer of Twilio takes, so that a killed worker is in the middle of a call."""


async def settle_and_check(
    system: SystemUnderTest, traffic: Traffic, *, seed: str, limit: float = REST_LIMIT
) -> Evidence:
    """Wait until the system is quiet, and check the invariants."""
    await wait_until_quiet(system, limit)
    evidence = await gather_evidence(system, traffic)
    check(evidence, seed=seed)
    return evidence


async def run_faults(
    folder: Path, seed: str, mixture: FaultMix, print_line: PrintLine, plan: Plan | None = None
) -> Figures:
    """Inject a mix of faults, check the invariants, and print the figures."""
    print_line(f"faults: seed {seed} (FAULT_SEED={seed} repeats it)")
    async with system_under_test(folder, plan) as system:
        traffic = Traffic(system, seed)
        injector = FaultInjector(system, traffic, seed)
        if mixture.slow_answers:
            await system.control.arm("twilio", "slow", every=3, seconds=mixture.slow_answers)
        async with traffic.running_clients(mixture.clients):
            lanes = [
                injector.inject_for(
                    faults, seconds=mixture.seconds, lane=lane, pause=mixture.pause, probe=lane == "own"
                )
                for lane, faults in mixture.lanes.items()
            ]
            await asyncio.gather(*lanes)
            await system.heal()
        await injector.wait_for_probes()
        rested = await wait_until_quiet(system, REST_LIMIT)
        evidence = await gather_evidence(system, traffic)
        found = figures_of(injector, evidence)
        print_line(f"{found.line()}; at rest after {rested:.0f} s")
        for reason, number in reasons(evidence).most_common():
            print_line(f"  unconfirmed {number} times: {reason}")
        for line in sorted(set(tracebacks(evidence.logs))):
            print_line(f"  traceback: {line}")
        if breaches(evidence):
            print_line("  injected: " + ", ".join(f"{one.at:.1f} {one.name}" for one in injector.injected))
        check(evidence, seed=seed)
        return found
