"""dashboard and dashboardUpdated: numbers that are right, counted once for all who look."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from api.bootstrap import House
from core.access.principal import Scope
from core.ports import EmailContent
from tests.graph.callers import Caller, Following, statements
from tests.graph.conftest import NewCaller
from tests.graph.stock import Stock

FIELDS = """
  window at queueDepth deadLetters integrations { kind }
  messages { channel sent delivered failed deliveryRate medianDeliverySeconds }
"""
DASHBOARD = f"query ($window: TimeWindow! = LAST_HOUR) {{ dashboard(window: $window) {{ {FIELDS} }} }}"
FOLLOW = (
    "subscription ($window: TimeWindow! = LAST_HOUR, $every: Int! = 1)"
    f" {{ dashboardUpdated(window: $window, everySeconds: $every) {{ {FIELDS} }} }}"
)
LONG_AGO = timedelta(minutes=90)


async def deliver(owner: asyncpg.Pool, message: UUID, seconds: float | None, status: str = "DELIVERED") -> None:
    """Let a message have been sent, and have arrived so many seconds later."""
    await owner.execute(
        "UPDATE messages SET status = $2, sent_at = now(), delivered_at = now() + $3::interval WHERE id = $1",
        message,
        status,
        None if seconds is None else timedelta(seconds=seconds),
    )


@asynccontextmanager
async def following(caller: Caller, **variables: Any) -> AsyncIterator[Following]:
    stream = caller.follow(FOLLOW, **variables)
    try:
        yield stream
    finally:
        await stream.close()


async def test_the_numbers_are_those_of_the_window(
    caller: Caller, stranger: Caller, stock: Stock, owner: asyncpg.Pool
) -> None:
    for seconds in (2, 4, 60):
        await deliver(owner, await stock.put(caller), seconds)
    await deliver(owner, await stock.put(caller), None, "SENT")
    await stock.put(caller, status="FAILED")
    await stock.put(caller)
    await stock.put(caller, sender="+5511987654321", status="DELIVERED")
    await stock.put(caller, content=EmailContent("Olá", "Oi", None), status="FAILED")
    await deliver(owner, await stock.put(caller, at=datetime.now(UTC) - LONG_AGO), 2)
    await stock.dead_letter(caller)
    await stock.dead_letter(caller, resolution="DISCARDED")
    await stock.dead_letter(stranger)
    await stock.put(stranger)
    found = (await caller.ask(DASHBOARD))["dashboard"]
    at = datetime.fromisoformat(found.pop("at"))
    assert abs(datetime.now(UTC) - at) < timedelta(minutes=1)
    sms = {"channel": "SMS", "sent": 4, "delivered": 3, "failed": 1, "deliveryRate": 0.75, "medianDeliverySeconds": 4.0}
    email = {"channel": "EMAIL", "sent": 0, "delivered": 0, "failed": 1}
    assert sorted(found.pop("messages"), key=lambda one: one["channel"]) == [
        {**email, "deliveryRate": None, "medianDeliverySeconds": None},
        sms,
    ]
    assert found == {
        "window": "LAST_HOUR",
        "queueDepth": 1,
        "deadLetters": 1,
        "integrations": [{"kind": "CLERK"}, {"kind": "SMTP"}, {"kind": "TWILIO"}, {"kind": "WHATSAPP"}],
    }
    [_, sms] = sorted(
        (await caller.ask(DASHBOARD, window="LAST_DAY"))["dashboard"]["messages"], key=lambda one: one["channel"]
    )
    assert sms["delivered"] == 4


async def test_the_numbers_come_at_once_and_again_when_they_have_changed(
    caller: Caller, stock: Stock, owner: asyncpg.Pool
) -> None:
    async with following(caller) as stream:
        assert (await stream.next())["dashboardUpdated"]["messages"] == []
        await deliver(owner, await stock.put(caller), 3)
        [counters] = (await stream.next())["dashboardUpdated"]["messages"]
    assert (counters["channel"], counters["delivered"], counters["deliveryRate"]) == ("SMS", 1, 1.0)


async def test_who_looks_at_the_same_costs_one_count(caller: Caller, stock: Stock, house: House) -> None:
    streams = [caller.follow(FOLLOW) for _ in range(20)]
    with statements(house) as seen:
        for stream in streams:
            await stream.next()
        await stock.put(caller)
        for stream in streams:
            assert (await stream.next())["dashboardUpdated"]["queueDepth"] == 1
    assert len([one for one in seen if "percentile_cont" in one]) <= 4
    for stream in streams:
        await stream.close()
    assert len(house.services.dashboards.boards) == 0


@pytest.mark.parametrize("every", [0, -1, 3_601])
async def test_how_often_has_its_bounds(caller: Caller, every: int) -> None:
    async with following(caller, every=every) as stream:
        [error] = (await stream.answer()).errors
    assert (error["extensions"]["code"], error["extensions"]["argument"]) == ("INVALID_INPUT", "everySeconds")


async def test_it_needs_its_scope(new_caller: NewCaller, nobody: Caller) -> None:
    reader = await new_caller(frozenset({Scope.MESSAGES_READ}))
    for caller, code in ((reader, "FORBIDDEN"), (nobody, "UNAUTHENTICATED")):
        assert await caller.code(DASHBOARD) == code
        async with following(caller) as stream:
            [error] = (await stream.answer()).errors
            assert error["extensions"]["code"] == code
