"""Valkey is emptied, killed, wiped, stalled, reset or slow; PostgreSQL still holds all work."""

import asyncio
import os
import shutil
import time
from datetime import UTC, datetime
from pathlib import Path
from random import Random

import pytest
from redis.asyncio import Redis

from core.providers.circuit import Circuits, CircuitState, CircuitView
from tests.faults.faults import (
    Fault,
    Heal,
    flush_valkey,
    freeze_valkey,
    kill_valkey,
    slow_connections,
    stall_connections,
)
from tests.faults.runs import FaultMix, PrintLine, run_faults, settle_and_check
from tests.faults.steps import count_statuses, send, sms_traffic
from tests.faults.system import Plan, SystemUnderTest, system_under_test
from tests.faults.traffic import Traffic
from tests.helpers import until

SECONDS = float(os.environ.get("FAULT_SECONDS") or 60)
TICKS = os.sysconf("SC_CLK_TCK")
LEFT = "SELECT count(*) FROM messages WHERE status <> 'DELIVERED'"


async def wipe_valkey(system: SystemUnderTest, chance: Random) -> Heal:
    """Kill it and delete its data."""
    await system.stores.valkey.kill()
    shutil.rmtree(system.stores.valkey.folder / "valkey" / "appendonlydir", ignore_errors=True)

    async def heal() -> None:
        await system.stores.valkey.start()

    return heal


async def test_delivery_continues_while_valkey_restarts(tmp_path: Path, print_line: PrintLine) -> None:
    faults = [
        Fault("emptied", flush_valkey),
        Fault("killed", kill_valkey, lasts=(0.5, 3)),
        Fault("wiped", wipe_valkey, lasts=(0.5, 3)),
    ]
    mixture = FaultMix({"own": faults}, seconds=SECONDS, pause=(1, 4), slow_answers=None)
    found = await run_faults(tmp_path, "valkey", mixture, print_line, Plan(workers=2))
    assert found.unrecovered == 0
    assert found.worst_recovery < 10
    assert found.unconfirmed == found.doubled == 0


async def test_a_worker_without_valkey_uses_little_cpu(tmp_path: Path) -> None:
    async with system_under_test(tmp_path, Plan(workers=1)) as system:
        await system.stores.valkey.kill()
        await asyncio.sleep(2)
        before = cpu_seconds(system.workers[0].pid)
        await asyncio.sleep(10)
        spent = cpu_seconds(system.workers[0].pid) - before
        assert spent < 2, f"{spent:.1f} s of CPU in 10 s"


@pytest.mark.parametrize("trouble", ["dead", "slow", "reset"])
async def test_accepting_waits_at_most_half_a_second_for_valkey(
    trouble: str, tmp_path: Path, print_line: PrintLine
) -> None:
    faults = {"dead": stall_connections("redis"), "slow": slow_connections("redis", 2.0)}
    async with system_under_test(tmp_path, Plan(workers=1)) as system:
        traffic = sms_traffic(system, f"valkey {trouble}")
        usual = await median(system, traffic.seed + " before")
        # No work is left at the start: a busy worker would find the new messages without a wake-up.
        await until(lambda: system.stores.fetch(LEFT), lambda rows: rows[0][0] == 0, 30)
        await asyncio.sleep(1)
        heal = await faults[trouble](system, Random(1)) if trouble in faults else None
        resets = None if heal else asyncio.create_task(keep_resetting(system))
        began = time.monotonic()
        await send(traffic, 60, at_once=2)
        took = sorted(accepted.took for accepted in traffic.accepted)
        print_line(f"valkey {trouble}: accepting p50 {took[30] * 1000:.0f} ms, usually {usual * 1000:.0f} ms")
        assert took[30] < usual + 0.75
        # Delivery does not need Valkey: workers also look for due messages by themselves.
        await until(lambda: system.stores.fetch(LEFT), lambda rows: rows[0][0] == 0, 30)
        if heal:
            await heal()
        if resets:
            resets.cancel()
        print_line(f"  that lasted {time.monotonic() - began:.0f} s")
        evidence = await settle_and_check(system, traffic, seed=traffic.seed)
        assert set(count_statuses(evidence)) == {"DELIVERED"}


@pytest.mark.parametrize("fault", ["frozen", "answers lost"])
async def test_a_circuit_trial_that_is_due_while_valkey_hangs_delays_nothing(
    fault: str, tmp_path: Path, print_line: PrintLine
) -> None:
    """The worker that asked has given up before the script runs, or gets no answer: its lease must end by itself."""
    async with system_under_test(tmp_path, Plan(workers=2)) as system:
        traffic = sms_traffic(system, f"trial {fault}")
        refusals = await system.control.arm("twilio", "code", always=True, code="20003", status=401)
        await send(traffic, 10)
        circuit = await until(lambda: twilio_circuit(system), lambda one: one.state is CircuitState.OPEN, 30)
        assert circuit.retry_at is not None
        await system.control.disarm("twilio", refusals["id"])
        # Valkey hangs from before the trial is due until every worker that asked has given up.
        await asyncio.sleep((circuit.retry_at - datetime.now(UTC)).total_seconds() - 0.2)
        heal = await (freeze_valkey if fault == "frozen" else lose_answers)(system, Random(1))
        await asyncio.sleep(2.2)
        await heal()
        began = time.monotonic()
        closed = await until(lambda: twilio_circuit(system, traffic), lambda one: one.state is CircuitState.CLOSED, 30)
        took = time.monotonic() - began
        print_line(f"trial while valkey was {fault}: closed {took:.1f} s after it answered again")
        assert closed.consecutive_failures == 0
        # One second in which workers leave Valkey alone, the lease of 1.5 s, and the trial itself.
        assert took < 4.0
        evidence = await settle_and_check(system, traffic, seed=traffic.seed)
        assert set(count_statuses(evidence)) == {"DELIVERED"}


async def lose_answers(system: SystemUnderTest, chance: Random) -> Heal:
    """Requests arrive at Valkey, and its answers are lost."""
    system.proxies["redis"].loses_answers = True
    return system.proxies["redis"].heal


async def twilio_circuit(system: SystemUnderTest, traffic: Traffic | None = None) -> CircuitView:
    """Read the circuit, not through the proxy; with traffic, send one more message for a trial."""
    if traffic is not None:
        await send(traffic, 1)
    assert system.stores.valkey.urls is not None
    async with Redis.from_url(system.stores.valkey.urls.redis) as redis:
        return (await Circuits(redis).read(["twilio"]))["twilio"]


async def median(system: SystemUnderTest, seed: str) -> float:
    """Return how long accepting usually takes here."""
    traffic = sms_traffic(system, seed)
    await send(traffic, 20, at_once=2)
    return sorted(accepted.took for accepted in traffic.accepted)[10]


async def keep_resetting(system: SystemUnderTest) -> None:
    while True:
        system.proxies["redis"].cut(reset=True)
        await asyncio.sleep(0.5)


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS
