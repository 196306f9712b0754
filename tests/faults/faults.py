"""Faults of our own processes, stores and connections, and of the providers, each a small named function."""

import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from random import Random
from typing import Any

from tests.faults.system import SystemUnderTest

Heal = Callable[[], Awaitable[None]]
Inject = Callable[[SystemUnderTest, Random], Awaitable[Heal]]


@dataclass(frozen=True)
class Fault:
    """Strikes, lasts between `lasts` seconds, and heals. `weight` is how often it is drawn beside the others."""

    name: str
    inject: Inject
    weight: int = 1
    lasts: tuple[float, float] = (0.1, 0.8)


async def kill_worker(city: SystemUnderTest, chance: Random) -> Heal:
    worker = chance.choice(city.workers)
    await city.kill_worker(worker)
    return worker.start


async def kill_all_workers(city: SystemUnderTest, chance: Random) -> Heal:
    for worker in city.workers:
        await city.kill_worker(worker)

    async def heal() -> None:
        for worker in city.workers:
            await worker.start()

    return heal


async def freeze_worker(city: SystemUnderTest, chance: Random) -> Heal:
    worker = chance.choice(city.workers)
    worker.freeze()

    async def heal() -> None:
        worker.thaw()

    return heal


async def end_worker(city: SystemUnderTest, chance: Random) -> Heal:
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


async def kill_api(city: SystemUnderTest, chance: Random) -> Heal:
    await city.api.kill()
    return city.api.start


async def flush_valkey(city: SystemUnderTest, chance: Random) -> Heal:
    await city.cellar.flush()
    return _nothing


async def kill_valkey(city: SystemUnderTest, chance: Random) -> Heal:
    await city.cellar.valkey.kill()

    async def heal() -> None:
        await city.cellar.valkey.start()

    return heal


async def freeze_valkey(city: SystemUnderTest, chance: Random) -> Heal:
    """It answers nothing, and afterwards carries out what it was asked meanwhile."""
    city.cellar.valkey.send_signal(signal.SIGSTOP)

    async def heal() -> None:
        city.cellar.valkey.send_signal(signal.SIGCONT)

    return heal


async def terminate_backends(city: SystemUnderTest, chance: Random) -> Heal:
    await city.cellar.terminate_backends()
    return _nothing


async def crash_postgres(city: SystemUnderTest, chance: Random) -> Heal:
    """As `pg_ctl -m immediate`: no checkpoint, no farewell, recovery at the next start."""
    await city.cellar.postgres.kill(signal.SIGQUIT)

    async def heal() -> None:
        await city.cellar.postgres.start()

    return heal


def reset_connections(name: str) -> Inject:
    async def inject(city: SystemUnderTest, chance: Random) -> Heal:
        city.wires[name].cut(reset=True)
        return _nothing

    return inject


def stall_connections(name: str) -> Inject:
    async def inject(city: SystemUnderTest, chance: Random) -> Heal:
        city.wires[name].swallow()
        return city.wires[name].heal

    return inject


def refuse_connections(name: str) -> Inject:
    async def inject(city: SystemUnderTest, chance: Random) -> Heal:
        city.wires[name].refuse()
        city.wires[name].cut(reset=True)
        return city.wires[name].heal

    return inject


def slow_connections(name: str, seconds: float) -> Inject:
    async def inject(city: SystemUnderTest, chance: Random) -> Heal:
        city.wires[name].latency = seconds
        return city.wires[name].heal

    return inject


async def _nothing() -> None:
    return None


OWN_FAULTS = (
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
    Fault("the wire to Valkey reset", reset_connections("redis")),
    Fault("the workers' wire to PostgreSQL reset", reset_connections("worker-postgres")),
    Fault("the API's wire to PostgreSQL reset", reset_connections("api-postgres")),
    Fault("clients cut off", reset_connections("ingress")),
)

NETWORK_FAULTS = (
    Fault("the wire to Valkey dead", stall_connections("redis"), lasts=(1, 4)),
    Fault("the wire to Valkey slow", slow_connections("redis", 2.0), lasts=(1, 4)),
    Fault("the workers' wire to PostgreSQL dead", stall_connections("worker-postgres"), lasts=(1, 4)),
    Fault("the API's wire to PostgreSQL dead", stall_connections("api-postgres"), lasts=(1, 4)),
    Fault("the workers' wire to PostgreSQL slow", slow_connections("worker-postgres", 0.2), lasts=(1, 4)),
    Fault("nobody reaches the API", refuse_connections("ingress"), lasts=(0.5, 3)),
)


# Faults of the companies and of the way to them: refusals, lost answers, and webhooks that travel badly.


AMBIGUOUS = frozenset({"server_error", "timeout", "reset", "garbage"})


def call_fault(kind: str, **order: Any) -> Inject:
    """Arm a fault of Twilio's, and count how many answers it left open."""

    async def inject(city: SystemUnderTest, chance: Random) -> Heal:
        armed = await city.control.arm("twilio", kind, **{"every": chance.choice([1, 2, 3]), **order})

        async def heal() -> None:
            [fault] = [one for one in (await city.control.state("twilio"))["faults"] if one["id"] == armed["id"]]
            city.ambiguous += fault["struck"] if kind in AMBIGUOUS else 0
            await city.control.disarm("twilio", armed["id"])

        return heal

    return inject


def webhook_fault(**plan: Any) -> Inject:
    """Let reports travel another way for a while; what was held back is sent in the end."""

    async def inject(city: SystemUnderTest, chance: Random) -> Heal:
        await city.control.plan_webhooks("twilio", **plan)

        async def heal() -> None:
            await city.control.plan_webhooks("twilio")
            await city.control.release("twilio")

        return heal

    return inject


async def reset_on_the_way(city: SystemUnderTest, chance: Random) -> Heal:
    """Every line to Twilio is reset, whatever is being said on it."""
    city.wires["twilio"].cut(reset=True)

    async def heal() -> None:
        return None

    return heal


CALL_FAULTS = (
    Fault("Twilio: 429", call_fault("rate_limit", retry_after=1), lasts=(0.3, 1.5)),
    Fault("Twilio: 429 with a date", call_fault("rate_limit", retry_after=2, retry_after_as="date"), lasts=(0.3, 1.5)),
    Fault("Twilio: 500, not done", call_fault("server_error", next=10, every=None)),
    Fault("Twilio: 500, and done", call_fault("server_error", accepted=True)),
    Fault("Twilio: garbage, not done", call_fault("garbage", next=5, every=None)),
    Fault("Twilio: garbage, and done", call_fault("garbage", accepted=True)),
    Fault("Twilio: reset, not done", call_fault("reset", next=10, every=None)),
    Fault("Twilio: reset, and done", call_fault("reset", accepted=True)),
    Fault("Twilio: silence, not done", call_fault("timeout", next=3, every=None)),
    Fault("Twilio: silence, and done", call_fault("timeout", next=5, every=None, accepted=True)),
    Fault("Twilio: slow", call_fault("slow", seconds=1.5), lasts=(0.5, 2)),
    Fault("Twilio: the way reset", reset_on_the_way),
    Fault("Twilio: refuses connections", refuse_connections("twilio"), lasts=(0.3, 1.5)),
)

WEBHOOK_FAULTS = (
    Fault("reports five times", webhook_fault(copies=5), lasts=(0.5, 2)),
    Fault("reports reversed", webhook_fault(reversed=True), lasts=(0.5, 2)),
    Fault("reports held back", webhook_fault(hold=True), lasts=(1, 4)),
    Fault("reports at once", webhook_fault(delays=[0, 0]), lasts=(0.5, 2)),
    Fault("reports doubled and reversed", webhook_fault(copies=2, reversed=True), lasts=(0.5, 2)),
)

PROVIDER_FAULTS = CALL_FAULTS + WEBHOOK_FAULTS
