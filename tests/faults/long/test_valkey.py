"""F5 and F6: Valkey emptied, killed, wiped, half open, reset, slow. PostgreSQL knows what is due."""

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


async def wipe_valkey(city: SystemUnderTest, chance: Random) -> Heal:
    """As kill, and what it had on its disk is gone, too."""
    await city.cellar.valkey.kill()
    shutil.rmtree(city.cellar.valkey.folder / "valkey" / "appendonlydir", ignore_errors=True)

    async def heal() -> None:
        await city.cellar.valkey.start()

    return heal


async def test_delivery_goes_on_from_postgresql_while_valkey_comes_and_goes(tmp_path: Path, tell: PrintLine) -> None:
    faults = [
        Fault("emptied", flush_valkey),
        Fault("killed", kill_valkey, lasts=(0.5, 3)),
        Fault("wiped", wipe_valkey, lasts=(0.5, 3)),
    ]
    mixture = FaultMix({"house": faults}, seconds=SECONDS, pause=(1, 4), climate=None)
    found = await run_faults(tmp_path, "valkey", mixture, tell, Plan(workers=2))
    assert found.unrecovered == 0
    assert found.worst_recovery < 10
    assert found.unconfirmed == found.doubled == 0


async def test_a_worker_without_valkey_hardly_costs_anything(tmp_path: Path) -> None:
    async with system_under_test(tmp_path, Plan(workers=1)) as city:
        await city.cellar.valkey.kill()
        await asyncio.sleep(2)
        before = cpu_seconds(city.workers[0].pid)
        await asyncio.sleep(10)
        spent = cpu_seconds(city.workers[0].pid) - before
        assert spent < 2, f"{spent:.1f} s of CPU in 10 s"


@pytest.mark.parametrize("trouble", ["dead", "slow", "reset"])
async def test_accepting_waits_for_valkey_at_most_half_a_second(trouble: str, tmp_path: Path, tell: PrintLine) -> None:
    faults = {"dead": stall_connections("redis"), "slow": slow_connections("redis", 2.0)}
    async with system_under_test(tmp_path, Plan(workers=1)) as city:
        traffic = sms_traffic(city, f"valkey {trouble}")
        usual = await median(city, traffic.seed + " before")
        # At rest when it begins: a worker that is busy finds the next ones on its way.
        await until(lambda: city.cellar.fetch(LEFT), lambda rows: rows[0][0] == 0, 30)
        await asyncio.sleep(1)
        heal = await faults[trouble](city, Random(1)) if trouble in faults else None
        resets = None if heal else asyncio.create_task(keep_resetting(city))
        began = time.monotonic()
        await send(traffic, 60, at_once=2)
        took = sorted(acked.took for acked in traffic.acked)
        tell(f"valkey {trouble}: accepting p50 {took[30] * 1000:.0f} ms, usually {usual * 1000:.0f} ms")
        assert took[30] < usual + 0.75
        # Delivery does not wait for the end of that: whoever looks by itself finds what is due.
        await until(lambda: city.cellar.fetch(LEFT), lambda rows: rows[0][0] == 0, 30)
        if heal:
            await heal()
        if resets:
            resets.cancel()
        tell(f"  that lasted {time.monotonic() - began:.0f} s")
        evidence = await settle_and_check(city, traffic, seed=traffic.seed)
        assert set(count_statuses(evidence)) == {"DELIVERED"}


@pytest.mark.parametrize("wire", ["frozen", "answers lost"])
async def test_a_trial_that_is_due_while_valkey_hangs_holds_nothing_up(
    wire: str, tmp_path: Path, tell: PrintLine
) -> None:
    """Who asked has given up when the script runs, or never hears of it: the lease it took must end by itself."""
    async with system_under_test(tmp_path, Plan(workers=2)) as city:
        traffic = sms_traffic(city, f"trial {wire}")
        fault = await city.control.arm("twilio", "code", always=True, code="20003", status=401)
        await send(traffic, 10)
        circuit = await until(lambda: twilio_circuit(city), lambda one: one.state is CircuitState.OPEN, 30)
        assert circuit.retry_at is not None
        await city.control.disarm("twilio", fault["id"])
        # The store hangs from before the trial is due until everybody who asked for it has given up.
        await asyncio.sleep((circuit.retry_at - datetime.now(UTC)).total_seconds() - 0.2)
        heal = await (freeze_valkey if wire == "frozen" else lose_answers)(city, Random(1))
        await asyncio.sleep(2.2)
        await heal()
        began = time.monotonic()
        closed = await until(lambda: twilio_circuit(city, traffic), lambda one: one.state is CircuitState.CLOSED, 30)
        took = time.monotonic() - began
        tell(f"trial while valkey was {wire}: closed {took:.1f} s after it answered again")
        assert closed.consecutive_failures == 0
        # A second in which the store is left alone, the lease of one and a half, and the trial itself.
        assert took < 4.0
        evidence = await settle_and_check(city, traffic, seed=traffic.seed)
        assert set(count_statuses(evidence)) == {"DELIVERED"}


async def lose_answers(city: SystemUnderTest, chance: Random) -> Heal:
    """What is asked arrives; what is answered does not."""
    city.wires["redis"].loses_answers = True
    return city.wires["redis"].heal


async def twilio_circuit(city: SystemUnderTest, traffic: Traffic | None = None) -> CircuitView:
    """How the circuit stands, past the wire; with traffic, one more message is sent, so that a trial has one to try."""
    if traffic is not None:
        await send(traffic, 1)
    assert city.cellar.valkey.urls is not None
    async with Redis.from_url(city.cellar.valkey.urls.redis) as redis:
        return (await Circuits(redis).read(["twilio"]))["twilio"]


async def median(city: SystemUnderTest, seed: str) -> float:
    """How long accepting usually takes here."""
    traffic = sms_traffic(city, seed)
    await send(traffic, 20, at_once=2)
    return sorted(acked.took for acked in traffic.acked)[10]


async def keep_resetting(city: SystemUnderTest) -> None:
    while True:
        city.wires["redis"].cut(reset=True)
        await asyncio.sleep(0.5)


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS
