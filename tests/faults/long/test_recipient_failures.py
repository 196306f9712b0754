"""F27: what recipients cause, and what one tenant meets alone, holds up nobody else's mail."""

from pathlib import Path

from redis.asyncio import Redis

from core.providers.circuit import Circuits, CircuitState
from tests.faults.evidence import gather_evidence
from tests.faults.steps import count_statuses
from tests.faults.system import Plan, SystemUnderTest, system_under_test
from tests.faults.traffic import Order, Traffic
from tests.helpers import until

EACH = 14
SOON = 5.0
"""Seconds in which a mail leaves that nobody holds up."""
CALM = {"SMTP_CONNECTIONS": "2"}


def mails(city: SystemUnderTest, tenant: int, pattern: str, number: int = EACH) -> list[Order]:
    """Orders for different recipients; `pattern` has a place for a number."""
    places = [next(city.numbers) for _ in range(number)]
    return [Order(city.tenants[tenant], f"mail-{one}", "EMAIL", pattern.format(one)) for one in places]


async def tried(city: SystemUnderTest) -> int:
    """How many messages a worker has tried at least once."""
    [row] = await city.cellar.fetch(
        "SELECT count(DISTINCT message_id) FROM attempts WHERE finished_at IS NOT NULL AND outcome <> 'ACCEPTED'"
    )
    return int(row[0])


async def circuit(city: SystemUnderTest) -> CircuitState:
    assert city.cellar.valkey.urls is not None
    async with Redis.from_url(city.cellar.valkey.urls.redis) as redis:
        return (await Circuits(redis).read(["smtp"]))["smtp"].state


async def is_sent_soon(city: SystemUnderTest, traffic: Traffic, tenant: int) -> None:
    """A tenant's mail to somebody who takes it leaves at once."""
    [order] = mails(city, tenant, "cliente{}@loja.example.com", 1)
    acked = await traffic.insist(order)
    assert acked is not None

    async def status() -> str:
        [row] = await city.cellar.fetch("SELECT status FROM messages WHERE id = $1", acked.message_id)
        return str(row[0])

    await until(status, lambda found: found == "SENT", SOON)


async def connections(city: SystemUnderTest) -> int:
    return [entry["path"] for entry in await city.control.journal(simulator="smtp")].count("")


async def test_full_mailboxes_and_greylists_hold_up_nobody_and_cost_few_connections(tmp_path: Path) -> None:
    async with system_under_test(tmp_path, Plan(workers=1, tenants=2, settings=CALM)) as city:
        traffic = Traffic(city, "full mailboxes", twice=0.0)
        orders = [
            *mails(city, 0, "full@loja{}.example.com"),
            *mails(city, 1, "busy@loja{}.example.com"),
        ]
        before = await connections(city)
        await traffic.burst(orders, at_once=8)
        await until(lambda: tried(city), lambda found: found >= len(orders), 30)
        assert await circuit(city) is CircuitState.CLOSED
        # Two at a time, each good for five refusals: RCPT's own and DATA's behind it. Some were tried a second time.
        assert await connections(city) - before <= len(orders) // 2
        for tenant in (0, 1):
            await is_sent_soon(city, traffic, tenant)
        evidence = await gather_evidence(city, traffic)
        assert count_statuses(evidence) == {"QUEUED": len(orders), "SENT": 2}
        reasons = {
            row["failure"]
            for row in await city.cellar.fetch(
                "SELECT failure->>'party' AS failure FROM attempts WHERE failure IS NOT NULL"
            )
        }
        assert reasons == {"RECIPIENT"}


async def test_one_tenant_cannot_hold_up_the_others(tmp_path: Path) -> None:
    async with system_under_test(tmp_path, Plan(workers=1, tenants=2)) as city:
        traffic = Traffic(city, "one tenant", twice=0.0)
        await is_sent_soon(city, traffic, 1)
        orders = mails(city, 0, "alvo{}@loja.example.com")
        for order in orders:
            await city.control.arm("smtp", "code", code="451", at="end-of-data", to=order.to, always=True)
        await traffic.burst(orders, at_once=8)
        await until(lambda: tried(city), lambda found: found >= len(orders), 30)
        assert await circuit(city) is CircuitState.CLOSED
        await is_sent_soon(city, traffic, 1)


async def test_what_every_tenant_meets_opens_the_circuit_all_the_same(tmp_path: Path) -> None:
    async with system_under_test(tmp_path, Plan(workers=1, tenants=2)) as city:
        traffic = Traffic(city, "every tenant", twice=0.0)
        await is_sent_soon(city, traffic, 1)
        await city.control.arm("smtp", "code", code="451", at="end-of-data", always=True)
        await traffic.burst(
            [*mails(city, 0, "a{}@loja.example.com"), *mails(city, 1, "b{}@loja.example.com")], at_once=8
        )
        await until(lambda: circuit(city), lambda found: found is not CircuitState.CLOSED, 30)
        await city.control.disarm("smtp")
        await until(lambda: circuit(city), lambda found: found is CircuitState.CLOSED, 30)
