"""dashboard: the numbers are right."""

from datetime import UTC, datetime, timedelta

import asyncpg

from core.ports import EmailContent
from core.ports.identity import Scope
from tests.graph.callers import Caller, NewCaller
from tests.graph.factories import DASHBOARD_FIELDS, RecordFactory, mark_delivered

DASHBOARD = f"query ($window: TimeWindow! = LAST_HOUR) {{ dashboard(window: $window) {{ {DASHBOARD_FIELDS} }} }}"
LONG_AGO = timedelta(minutes=90)


async def test_the_numbers_are_those_of_the_window(
    caller: Caller, stranger: Caller, factory: RecordFactory, owner: asyncpg.Pool
) -> None:
    for seconds in (2, 4, 60):
        await mark_delivered(owner, await factory.message(caller), seconds)
    await mark_delivered(owner, await factory.message(caller), None, "SENT")
    await factory.message(caller, status="FAILED")
    await factory.message(caller)
    await factory.message(caller, sender="+5511987654321", status="DELIVERED")
    await factory.message(caller, content=EmailContent("Olá", "Oi", None), status="FAILED")
    await mark_delivered(owner, await factory.message(caller, at=datetime.now(UTC) - LONG_AGO), 2)
    await factory.dead_letter(caller)
    await factory.dead_letter(caller, resolution="DISCARDED")
    await factory.dead_letter(stranger)
    await factory.message(stranger)
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


async def test_an_unknown_value_is_null(caller: Caller, factory: RecordFactory, owner: asyncpg.Pool) -> None:
    """E-mails were sent and no report ever comes; an SMS was sent and its report may still come: that is 0 of 1."""
    await mark_delivered(owner, await factory.message(caller, content=EmailContent("Olá", "Oi", None)), None, "SENT")
    await mark_delivered(owner, await factory.message(caller), None, "SENT")
    sms, email = sorted(
        (await caller.ask(DASHBOARD))["dashboard"]["messages"], key=lambda one: str(one["channel"] != "SMS")
    )
    nothing = {"sent": 1, "delivered": 0, "failed": 0, "medianDeliverySeconds": None}
    assert email == {"channel": "EMAIL", **nothing, "deliveryRate": None}
    assert sms == {"channel": "SMS", **nothing, "deliveryRate": 0.0}
    empty = (await caller.ask(DASHBOARD, window="LAST_5_MINUTES"))["dashboard"]
    assert {one["deliveryRate"] for one in empty["messages"]} == {None, 0.0}


async def test_it_needs_its_scope(new_caller: NewCaller, anonymous: Caller) -> None:
    reader = await new_caller(frozenset({Scope.MESSAGES_READ}))
    for caller, code in ((reader, "FORBIDDEN"), (anonymous, "UNAUTHENTICATED")):
        assert await caller.code(DASHBOARD) == code
