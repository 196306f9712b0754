"""What an answer or its absence means: not done, refused, or unknown."""

import asyncio
import os
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest
from redis.asyncio import Redis

from core.providers.circuit import Circuits
from tests.faults.evidence import Evidence
from tests.faults.runs import settle_and_check
from tests.faults.steps import count_copies, count_ever, count_statuses, send, sms_traffic
from tests.faults.system import Plan, SystemUnderTest, system_under_test
from tests.faults.traffic import Order
from tests.helpers import until

EACH = int(os.environ.get("FAULT_NUMBER") or 10)
MANY = int(os.environ.get("FAULT_MANY") or 500)


@dataclass(frozen=True)
class Case:
    """A fault on the first call to a recipient, and what must become of that attempt and of the message."""

    kind: str
    outcome: str
    ends: str
    order: dict[str, Any] = field(default_factory=dict)


TRANSIENT, OPEN, REFUSED = ("UNAVAILABLE", "DELIVERED"), ("UNCONFIRMED", "UNCONFIRMED"), ("REJECTED", "FAILED")
SETTLED = ("ACCEPTED", "DELIVERED")
CASES = (
    Case("rate_limit", *TRANSIENT),
    Case("rate_limit", *TRANSIENT, {"retry_after": 3}),
    Case("rate_limit", *TRANSIENT, {"retry_after": 3, "retry_after_as": "date"}),
    Case("code", *TRANSIENT, {"code": "20003", "status": 401}),
    Case("code", *REFUSED, {"code": "21211", "status": 400}),
    Case("code", *REFUSED, {"code": "21610", "status": 400}),
    Case("server_error", *OPEN),
    Case("server_error", *OPEN, {"status": 502}),
    Case("server_error", *OPEN, {"status": 503}),
    Case("server_error", *SETTLED, {"accepted": True}),
    Case("garbage", *OPEN),
    Case("garbage", *SETTLED, {"accepted": True}),
    Case("reset", *OPEN),
    Case("reset", *SETTLED, {"accepted": True}),
    Case("timeout", *OPEN),
    Case("timeout", *SETTLED, {"accepted": True}),
)


async def test_each_answer_has_its_outcome(tmp_path: Path) -> None:
    async with system_under_test(tmp_path, Plan(workers=2)) as system:
        traffic = sms_traffic(system, "answers")
        chance = Random(1)
        chosen: list[tuple[Case, Order]] = []
        for case in CASES:
            for _ in range(EACH):
                order = traffic.draw(chance)
                chosen.append((case, order))
                await system.control.arm("twilio", case.kind, next=1, to=order.to, **case.order)
        await traffic.send_all([order for _, order in chosen], at_once=8)
        evidence = await settle_and_check(system, traffic, seed=traffic.seed)
        wrong = [line for case, order in chosen if (line := verdict(case, order, evidence))]
        assert not wrong, wrong[:5]


def verdict(case: Case, order: Order, evidence: Evidence) -> str | None:
    """Return what is wrong with the message of an order, if anything."""
    message_id = evidence.keys[order.tenant, order.key]
    status, attempts = evidence.messages[message_id]["status"], evidence.attempts[message_id]
    words = f"{case.kind} {case.order}: {status} after {[one['outcome'] for one in attempts]}"
    # An unconfirmed message may be settled later, by a look-up or by the policy of its route.
    is_settled = case.ends == "UNCONFIRMED" and len(attempts) > 1
    if attempts[0]["outcome"] != case.outcome or not (status == case.ends or is_settled or status == "FAILED"):
        return words
    if case.ends == "DELIVERED" and status != "DELIVERED":
        return words
    asked = case.order.get("retry_after")
    if asked is not None:
        pause = attempts[1]["started_at"] - attempts[0]["finished_at"]
        # A date has whole seconds, the jitter of a first retry is up to two seconds, and a worker has to be free.
        if not timedelta(seconds=asked - 1.1) <= pause <= timedelta(seconds=asked + 5):
            return f"{words}, again after {pause}"
    return None


@pytest.mark.parametrize(
    ("kind", "accepted"), [("timeout", True), ("timeout", False), ("reset", True), ("reset", False)]
)
async def test_many_lost_answers_send_nothing_twice(kind: str, accepted: bool, tmp_path: Path) -> None:
    number = MANY // 4
    async with system_under_test(tmp_path, Plan(workers=2)) as system:
        traffic = sms_traffic(system, f"{kind} {accepted}")
        fault = await system.control.arm("twilio", kind, always=True, accepted=accepted)
        sending = asyncio.create_task(send(traffic, number))
        await until(lambda: first_calls_with_the_circuit_closed(system), lambda found: found >= number, 200)
        await system.control.disarm("twilio", fault["id"])
        await sending
        evidence = await settle_and_check(system, traffic, seed=traffic.seed)
        assert count_ever(evidence, "UNCONFIRMED") <= number
        if accepted:
            assert count_statuses(evidence) == {"DELIVERED": number}
            assert count_copies(evidence) == {1: number}


async def first_calls_with_the_circuit_closed(system: SystemUnderTest) -> int:
    """Count them and reset the circuit, which would otherwise hold back all but the first few."""
    assert system.stores.valkey.urls is not None
    async with Redis.from_url(system.stores.valkey.urls.redis) as redis:
        await Circuits(redis).reset("twilio", by="an operator")
    return await first_calls(system)


async def first_calls(system: SystemUnderTest) -> int:
    [row] = await system.stores.fetch("SELECT count(*) FROM attempts WHERE number = 1 AND finished_at IS NOT NULL")
    return int(row[0])


@pytest.mark.parametrize(
    "base", ["https://no-such-host.invalid/twilio", "https://127.0.0.1:{port}/twilio", "http://127.0.0.1:1/twilio"]
)
async def test_without_a_connection_no_message_is_unconfirmed(base: str, tmp_path: Path) -> None:
    async with system_under_test(tmp_path, Plan(workers=1)) as system:
        [worker] = system.workers
        await worker.kill()
        right = worker.environment
        wrong = base.format(port=system.proxies["twilio"].port)
        worker.environment = {**right, "TWILIO_API_BASE": wrong}
        traffic = sms_traffic(system, "no way there")
        await send(traffic, EACH)
        await worker.start()
        await until(lambda: first_calls(system), lambda found: found >= EACH, 30)
        await worker.kill()
        outcomes = await system.stores.fetch("SELECT DISTINCT outcome FROM attempts WHERE finished_at IS NOT NULL")
        assert [row["outcome"] for row in outcomes] == ["UNAVAILABLE"]
        worker.environment = right
        await system.expire_leases()
        await worker.start()
        evidence = await settle_and_check(system, traffic, seed=traffic.seed)
        # The worker may have been killed during a further try, which cannot be told from one that reached Twilio.
        assert count_statuses(evidence)["DELIVERED"] >= EACH - 1
        assert count_copies(evidence)[1] >= EACH - 1


async def test_mail_that_a_relay_defers_for_four_hours_is_sent(tmp_path: Path) -> None:
    """The relay answers 451 for four hours; the pauses between tries are skipped."""
    async with system_under_test(tmp_path, Plan(workers=1)) as system:
        traffic = sms_traffic(system, "451")
        await system.control.arm("smtp", "code", code="451", text="4.7.1 Try again later", at="rcpt", always=True)
        await traffic.send_all([Order(system.tenants[0], "patient", "EMAIL", "ana@example.com")], at_once=1)
        waited = timedelta(0)
        while (waited := waited + await next_pause(system)) < timedelta(hours=4):
            await skip_pause(system)
        await system.control.disarm("smtp")
        await skip_pause(system)
        evidence = await settle_and_check(system, traffic, seed=traffic.seed)
        assert count_statuses(evidence) == {"SENT": 1}


async def next_pause(system: SystemUnderTest) -> timedelta:
    """Wait until the last try has failed; return the pause before the next one."""
    ended = "SELECT status, due_at - updated_at AS pause FROM messages WHERE status = 'FAILED' OR due_at > now()"
    await until(lambda: system.stores.fetch(ended), bool, 40)
    [row] = await system.stores.fetch(ended)
    assert row["status"] == "QUEUED", "no try is left"
    pause: timedelta = row["pause"]
    return pause


async def skip_pause(system: SystemUnderTest) -> None:
    """Let the next try begin now.

    Many tries in no time look like a relay that broke down, and what a circuit does then is not what is asked here.
    """
    assert system.stores.valkey.urls is not None
    async with Redis.from_url(system.stores.valkey.urls.redis) as redis:
        await Circuits(redis).reset("smtp", by="skipped time")
    await system.stores.execute("UPDATE messages SET due_at = now() WHERE status = 'QUEUED'")
