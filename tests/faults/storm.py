"""Faults drawn by a seeded random, one lane beside the other; after each, a probe says how long recovery took."""

import asyncio
import os
import time
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import TypeVar

from tests.faults.city import City
from tests.faults.faults import Fault
from tests.faults.traffic import Traffic

Answer = TypeVar("Answer")

PATIENCE = 90.0


@dataclass
class Struck:
    """A fault that happened."""

    name: str
    at: float
    lasted: float
    is_probed: bool
    recovered_in: float | None = None


@dataclass(eq=False)
class Storm:
    """Strikes a city. The same seed draws the same faults in the same order, lane by lane."""

    city: City
    traffic: Traffic
    seed: str
    struck: list[Struck] = field(default_factory=list)
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

    async def strike(self, fault: Fault, chance: Random, *, probe: bool = True) -> Struck:
        """One fault, from its beginning to its end."""
        began = time.monotonic()
        heal = await fault.inject(self.city, chance)
        await asyncio.sleep(chance.uniform(*fault.lasts))
        await heal()
        struck = Struck(fault.name, began - self._began, time.monotonic() - began, probe)
        self.struck.append(struck)
        if probe:
            task = asyncio.create_task(self._probe(struck, Random(f"{self.seed}:probe:{len(self.struck)}")))
            self._probes.add(task)
        return struck

    async def settle(self) -> None:
        """Wait for the last probes."""
        await asyncio.gather(*self._probes)

    async def _probe(self, struck: Struck, chance: Random) -> None:
        """How long until a new e-mail is taken and has left us. E-mail, since Twilio's own troubles are not ours."""
        began = time.monotonic()
        number = next(self.city.numbers)
        order = self.traffic.draw(chance)
        order = type(order)(order.tenant, f"probe-{number}", "EMAIL", f"sonda{number}@loja.example.com")
        acked = await self.traffic.insist(order, PATIENCE)
        if acked is None:
            return
        query = "SELECT status FROM messages WHERE tenant_id = $1 AND id = $2"
        while time.monotonic() - began < PATIENCE:
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


def seed_of_this_run(default: int) -> str:
    """FAULT_SEED, or the one given."""
    return os.environ.get("FAULT_SEED") or str(default)
