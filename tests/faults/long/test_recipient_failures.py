"""Failures caused by recipients, or met by one tenant only, do not delay the mail of others."""

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
"""Seconds within which a mail is sent that nothing delays."""
FEW_CONNECTIONS = {"SMTP_CONNECTIONS": "2"}


def mails(system: SystemUnderTest, tenant: int, pattern: str, number: int = EACH) -> list[Order]:
    """Return orders for different recipients; `pattern` has a placeholder for a number."""
    places = [next(system.numbers) for _ in range(number)]
    return [Order(system.tenants[tenant], f"mail-{one}", "EMAIL", pattern.format(one)) for one in places]


async def tried(system: SystemUnderTest) -> int:
    """Count the messages that a worker has tried and not sent."""
    [row] = await system.stores.fetch(
        "SELECT count(DISTINCT message_id) FROM attempts WHERE finished_at IS NOT NULL AND outcome <> 'ACCEPTED'"
    )
    return int(row[0])


async def circuit(system: SystemUnderTest) -> CircuitState:
    assert system.stores.valkey.urls is not None
    async with Redis.from_url(system.stores.valkey.urls.redis) as redis:
        return (await Circuits(redis).read(["smtp"]))["smtp"].state


async def is_sent_soon(system: SystemUnderTest, traffic: Traffic, tenant: int) -> None:
    """Check that a tenant's mail to a working mailbox is sent at once."""
    [order] = mails(system, tenant, "cliente{}@loja.example.com", 1)
    accepted = await traffic.send_until_answered(order)
    assert accepted is not None

    async def status() -> str:
        [row] = await system.stores.fetch("SELECT status FROM messages WHERE id = $1", accepted.message_id)
        return str(row[0])

    await until(status, lambda found: found == "SENT", SOON)


async def connections(system: SystemUnderTest) -> int:
    return [entry["path"] for entry in await system.control.journal(simulator="smtp")].count("")


async def test_full_mailboxes_and_greylists_delay_no_other_mail_and_cost_few_connections(tmp_path: Path) -> None:
    async with system_under_test(tmp_path, Plan(workers=1, tenants=2, settings=FEW_CONNECTIONS)) as system:
        traffic = Traffic(system, "full mailboxes", twice=0.0)
        orders = [
            *mails(system, 0, "full@loja{}.example.com"),
            *mails(system, 1, "busy@loja{}.example.com"),
        ]
        before = await connections(system)
        await traffic.send_all(orders, at_once=8)
        await until(lambda: tried(system), lambda found: found >= len(orders), 30)
        assert await circuit(system) is CircuitState.CLOSED
        # Two connections at a time, each for five refusals: one of RCPT counts with that of DATA. Some are tried twice.
        assert await connections(system) - before <= len(orders) // 2
        for tenant in (0, 1):
            await is_sent_soon(system, traffic, tenant)
        evidence = await gather_evidence(system, traffic)
        assert count_statuses(evidence) == {"QUEUED": len(orders), "SENT": 2}
        reasons = {
            row["failure"]
            for row in await system.stores.fetch(
                "SELECT failure->>'party' AS failure FROM attempts WHERE failure IS NOT NULL"
            )
        }
        assert reasons == {"RECIPIENT"}


async def test_failures_of_one_tenant_do_not_delay_the_others(tmp_path: Path) -> None:
    async with system_under_test(tmp_path, Plan(workers=1, tenants=2)) as system:
        traffic = Traffic(system, "one tenant", twice=0.0)
        await is_sent_soon(system, traffic, 1)
        orders = mails(system, 0, "alvo{}@loja.example.com")
        for order in orders:
            await system.control.arm("smtp", "code", code="451", at="end-of-data", to=order.to, always=True)
        await traffic.send_all(orders, at_once=8)
        await until(lambda: tried(system), lambda found: found >= len(orders), 30)
        assert await circuit(system) is CircuitState.CLOSED
        await is_sent_soon(system, traffic, 1)


async def test_failures_of_every_tenant_open_the_circuit(tmp_path: Path) -> None:
    async with system_under_test(tmp_path, Plan(workers=1, tenants=2)) as system:
        traffic = Traffic(system, "every tenant", twice=0.0)
        await is_sent_soon(system, traffic, 1)
        await system.control.arm("smtp", "code", code="451", at="end-of-data", always=True)
        await traffic.send_all(
            [*mails(system, 0, "a{}@loja.example.com"), *mails(system, 1, "b{}@loja.example.com")], at_once=8
        )
        await until(lambda: circuit(system), lambda found: found is not CircuitState.CLOSED, 30)
        await system.control.disarm("smtp")
        await until(lambda: circuit(system), lambda found: found is CircuitState.CLOSED, 30)
