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
    """A fault that lasts between `lasts` seconds and is then healed; `weight` is how often it is drawn."""

    name: str
    inject: Inject
    weight: int = 1
    lasts: tuple[float, float] = (0.1, 0.8)


async def kill_worker(system: SystemUnderTest, chance: Random) -> Heal:
    worker = chance.choice(system.workers)
    await system.kill_worker(worker)
    return worker.start


async def kill_all_workers(system: SystemUnderTest, chance: Random) -> Heal:
    for worker in system.workers:
        await system.kill_worker(worker)

    async def heal() -> None:
        for worker in system.workers:
            await worker.start()

    return heal


async def freeze_worker(system: SystemUnderTest, chance: Random) -> Heal:
    worker = chance.choice(system.workers)
    worker.freeze()

    async def heal() -> None:
        worker.thaw()

    return heal


async def end_worker(system: SystemUnderTest, chance: Random) -> Heal:
    worker = chance.choice(system.workers)
    worker.signal(signal.SIGTERM)

    async def heal() -> None:
        if worker.is_running:
            code, seconds = await worker.end()
            # A worker that is still starting handles no signals yet, and has claimed nothing.
            assert code in (0, -signal.SIGTERM), f"{worker.name} ended with {code}"
            assert seconds < 30, f"{worker.name} ended after {seconds:.0f} s"
        await worker.start()

    return heal


async def kill_api(system: SystemUnderTest, chance: Random) -> Heal:
    await system.api.kill()
    return system.api.start


async def flush_valkey(system: SystemUnderTest, chance: Random) -> Heal:
    await system.stores.flush()
    return _nothing


async def kill_valkey(system: SystemUnderTest, chance: Random) -> Heal:
    await system.stores.valkey.kill()

    async def heal() -> None:
        await system.stores.valkey.start()

    return heal


async def freeze_valkey(system: SystemUnderTest, chance: Random) -> Heal:
    """It answers nothing, and carries out afterwards what it was asked meanwhile."""
    system.stores.valkey.send_signal(signal.SIGSTOP)

    async def heal() -> None:
        system.stores.valkey.send_signal(signal.SIGCONT)

    return heal


async def terminate_backends(system: SystemUnderTest, chance: Random) -> Heal:
    await system.stores.terminate_backends()
    return _nothing


async def crash_postgres(system: SystemUnderTest, chance: Random) -> Heal:
    """As `pg_ctl -m immediate`: without a checkpoint, with recovery at the next start."""
    await system.stores.postgres.kill(signal.SIGQUIT)

    async def heal() -> None:
        await system.stores.postgres.start()

    return heal


def reset_connections(name: str) -> Inject:
    async def inject(system: SystemUnderTest, chance: Random) -> Heal:
        system.proxies[name].cut(reset=True)
        return _nothing

    return inject


def stall_connections(name: str) -> Inject:
    async def inject(system: SystemUnderTest, chance: Random) -> Heal:
        system.proxies[name].stall()
        return system.proxies[name].heal

    return inject


def refuse_connections(name: str) -> Inject:
    async def inject(system: SystemUnderTest, chance: Random) -> Heal:
        system.proxies[name].refuse()
        system.proxies[name].cut(reset=True)
        return system.proxies[name].heal

    return inject


def slow_connections(name: str, seconds: float) -> Inject:
    async def inject(system: SystemUnderTest, chance: Random) -> Heal:
        system.proxies[name].latency = seconds
        return system.proxies[name].heal

    return inject


async def _nothing() -> None:
    return None


OWN_FAULTS = (
    Fault("a worker killed", kill_worker, weight=8),
    Fault("every worker killed", kill_all_workers, weight=2),
    Fault("a worker frozen", freeze_worker, lasts=(0.5, 3)),
    Fault("a worker shut down", end_worker),
    Fault("the API killed", kill_api, weight=3),
    Fault("Valkey emptied", flush_valkey),
    Fault("Valkey killed", kill_valkey, weight=2, lasts=(0.2, 1.5)),
    Fault("Valkey frozen", freeze_valkey, lasts=(0.5, 3)),
    Fault("every database connection terminated", terminate_backends, weight=2),
    Fault("PostgreSQL crashed", crash_postgres, weight=2, lasts=(0.1, 1)),
    Fault("connections to Valkey reset", reset_connections("redis")),
    Fault("the workers' connections to PostgreSQL reset", reset_connections("worker-postgres")),
    Fault("the API's connections to PostgreSQL reset", reset_connections("api-postgres")),
    Fault("connections of clients reset", reset_connections("ingress")),
)

NETWORK_FAULTS = (
    Fault("connections to Valkey stalled", stall_connections("redis"), lasts=(1, 4)),
    Fault("connections to Valkey slow", slow_connections("redis", 2.0), lasts=(1, 4)),
    Fault("the workers' connections to PostgreSQL stalled", stall_connections("worker-postgres"), lasts=(1, 4)),
    Fault("the API's connections to PostgreSQL stalled", stall_connections("api-postgres"), lasts=(1, 4)),
    Fault("the workers' connections to PostgreSQL slow", slow_connections("worker-postgres", 0.2), lasts=(1, 4)),
    Fault("the API refuses connections", refuse_connections("ingress"), lasts=(0.5, 3)),
)


# Faults of the providers: refusals, lost answers, and webhooks that arrive late, twice or out of order.
AMBIGUOUS = frozenset({"server_error", "timeout", "reset", "garbage"})


def call_fault(kind: str, **order: Any) -> Inject:
    """Make Twilio's simulator fail in one way, and count the answers whose outcome stays unknown."""

    async def inject(system: SystemUnderTest, chance: Random) -> Heal:
        armed = await system.control.arm("twilio", kind, **{"every": chance.choice([1, 2, 3]), **order})

        async def heal() -> None:
            [fault] = [one for one in (await system.control.state("twilio"))["faults"] if one["id"] == armed["id"]]
            system.ambiguous += fault["struck"] if kind in AMBIGUOUS else 0
            await system.control.disarm("twilio", armed["id"])

        return heal

    return inject


def webhook_fault(**plan: Any) -> Inject:
    """Change how Twilio delivers its reports for a while; reports held back are sent at the end."""

    async def inject(system: SystemUnderTest, chance: Random) -> Heal:
        await system.control.plan_webhooks("twilio", **plan)

        async def heal() -> None:
            await system.control.plan_webhooks("twilio")
            await system.control.release("twilio")

        return heal

    return inject


async def reset_twilio_connections(system: SystemUnderTest, chance: Random) -> Heal:
    """Reset every connection to Twilio."""
    system.proxies["twilio"].cut(reset=True)

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
    Fault("Twilio: connections reset", reset_twilio_connections),
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
