"""Faults of our own house as small named things: what strikes processes, stores and the wires between them."""

import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from random import Random

from tests.faults.city import City

Heal = Callable[[], Awaitable[None]]
Inject = Callable[[City, Random], Awaitable[Heal]]


@dataclass(frozen=True)
class Fault:
    """Strikes, lasts between `lasts` seconds, and heals. `weight` is how often it is drawn beside the others."""

    name: str
    inject: Inject
    weight: int = 1
    lasts: tuple[float, float] = (0.1, 0.8)


async def kill_worker(city: City, chance: Random) -> Heal:
    worker = chance.choice(city.workers)
    await city.kill_worker(worker)
    return worker.start


async def kill_all_workers(city: City, chance: Random) -> Heal:
    for worker in city.workers:
        await city.kill_worker(worker)

    async def heal() -> None:
        for worker in city.workers:
            await worker.start()

    return heal


async def freeze_worker(city: City, chance: Random) -> Heal:
    worker = chance.choice(city.workers)
    worker.freeze()

    async def heal() -> None:
        worker.thaw()

    return heal


async def end_worker(city: City, chance: Random) -> Heal:
    worker = chance.choice(city.workers)
    worker.signal(signal.SIGTERM)

    async def heal() -> None:
        if worker.is_running:
            code, seconds = await worker.end()
            # One that was still being born knows no signals yet, and has nothing in hand either.
            assert code in (0, -signal.SIGTERM), f"{worker.name} ended with {code}"
            assert seconds < 30, f"{worker.name} ended after {seconds:.0f} s"
        await worker.start()

    return heal


async def kill_api(city: City, chance: Random) -> Heal:
    await city.api.kill()
    return city.api.start


async def flush_valkey(city: City, chance: Random) -> Heal:
    await city.cellar.flush()
    return _nothing


async def kill_valkey(city: City, chance: Random) -> Heal:
    await city.cellar.valkey.kill()

    async def heal() -> None:
        await city.cellar.valkey.start()

    return heal


async def freeze_valkey(city: City, chance: Random) -> Heal:
    """It answers nothing, and afterwards carries out what it was asked meanwhile."""
    city.cellar.valkey.send_signal(signal.SIGSTOP)

    async def heal() -> None:
        city.cellar.valkey.send_signal(signal.SIGCONT)

    return heal


async def terminate_backends(city: City, chance: Random) -> Heal:
    await city.cellar.terminate_backends()
    return _nothing


async def crash_postgres(city: City, chance: Random) -> Heal:
    """As `pg_ctl -m immediate`: no checkpoint, no farewell, recovery at the next start."""
    await city.cellar.postgres.kill(signal.SIGQUIT)

    async def heal() -> None:
        await city.cellar.postgres.start()

    return heal


def reset_wire(name: str) -> Inject:
    async def inject(city: City, chance: Random) -> Heal:
        city.wires[name].cut(reset=True)
        return _nothing

    return inject


def swallow_wire(name: str) -> Inject:
    async def inject(city: City, chance: Random) -> Heal:
        city.wires[name].swallow()
        return city.wires[name].heal

    return inject


def refuse_wire(name: str) -> Inject:
    async def inject(city: City, chance: Random) -> Heal:
        city.wires[name].refuse()
        city.wires[name].cut(reset=True)
        return city.wires[name].heal

    return inject


def slow_wire(name: str, seconds: float) -> Inject:
    async def inject(city: City, chance: Random) -> Heal:
        city.wires[name].latency = seconds
        return city.wires[name].heal

    return inject


async def _nothing() -> None:
    return None


HOUSE = (
    Fault("a worker killed", kill_worker, weight=8),
    Fault("every worker killed", kill_all_workers, weight=2),
    Fault("a worker frozen", freeze_worker, lasts=(0.5, 3)),
    Fault("a worker told to end", end_worker),
    Fault("the API killed", kill_api, weight=3),
    Fault("Valkey emptied", flush_valkey),
    Fault("Valkey killed", kill_valkey, weight=2, lasts=(0.2, 1.5)),
    Fault("Valkey frozen", freeze_valkey, lasts=(0.5, 3)),
    Fault("every back-end terminated", terminate_backends, weight=2),
    Fault("PostgreSQL crashed", crash_postgres, weight=2, lasts=(0.1, 1)),
    Fault("the wire to Valkey reset", reset_wire("redis")),
    Fault("the workers' wire to PostgreSQL reset", reset_wire("worker-postgres")),
    Fault("the API's wire to PostgreSQL reset", reset_wire("api-postgres")),
    Fault("clients cut off", reset_wire("ingress")),
)

WIRES = (
    Fault("the wire to Valkey dead", swallow_wire("redis"), lasts=(1, 4)),
    Fault("the wire to Valkey slow", slow_wire("redis", 2.0), lasts=(1, 4)),
    Fault("the workers' wire to PostgreSQL dead", swallow_wire("worker-postgres"), lasts=(1, 4)),
    Fault("the API's wire to PostgreSQL dead", swallow_wire("api-postgres"), lasts=(1, 4)),
    Fault("the workers' wire to PostgreSQL slow", slow_wire("worker-postgres", 0.2), lasts=(1, 4)),
    Fault("nobody reaches the API", refuse_wire("ingress"), lasts=(0.5, 3)),
)
