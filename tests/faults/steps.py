"""Steps of the fault tests: messages are sent, and a state of theirs is waited for and counted."""

from collections import Counter
from itertools import islice
from random import Random

from tests.faults.evidence import Evidence
from tests.faults.system import SystemUnderTest
from tests.faults.traffic import AcceptedMessage, Order, Traffic
from tests.helpers import until

PATIENCE = 40.0


def sms_traffic(system: SystemUnderTest, seed: str) -> Traffic:
    """Return clients that send SMS only, each message once."""
    return Traffic(system, seed, emails=0.0, twice=0.0)


async def send(traffic: Traffic, number: int, *, at_once: int = 8) -> list[Order]:
    """Send so many messages, and wait until all are accepted."""
    chance = Random(traffic.seed)
    orders = [traffic.draw(chance) for _ in range(number)]
    await traffic.send_all(orders, at_once=at_once)
    return orders


async def answer_orders(system: SystemUnderTest, number: int, *, on_unconfirmed: str | None = None) -> list[Order]:
    """Return answers to people who have just written over WhatsApp: those need no template."""
    orders = []
    for one in islice(system.numbers, number):
        phone = f"+55119{82_000_000 + one}"
        await system.control.inbound("whatsapp", sender=phone, text="Oi")
        orders.append(Order(system.tenants[0], f"answer-{one}", "WHATSAPP", phone, on_unconfirmed=on_unconfirmed))
    return orders


async def send_answers(traffic: Traffic, number: int) -> list[Order]:
    """Send so many answers over WhatsApp, which limits the rate for each recipient.

    Only where a provider does that, a message is claimed first and begun in a second step.
    """
    orders = await answer_orders(traffic.system, number)
    await traffic.send_all(orders, at_once=8)
    return orders


async def count_claimed_and_not_begun(system: SystemUnderTest) -> int:
    [row] = await system.stores.fetch(
        "SELECT count(*) FROM messages m JOIN attempts a ON a.tenant_id = m.tenant_id AND a.message_id = m.id"
        " AND a.number = m.attempt_count WHERE m.lease_until IS NOT NULL AND a.started_at IS NULL"
    )
    return int(row[0])


async def count_in_flight(system: SystemUnderTest) -> int:
    """Count the messages that are being sent under a lease that is not over."""
    [row] = await system.stores.fetch("SELECT count(*) FROM messages WHERE lease_until > now() AND status = 'SENDING'")
    return int(row[0])


async def count_taken_by_twilio(system: SystemUnderTest) -> int:
    """Count the messages that Twilio has accepted."""
    return len(await system.control.messages("twilio"))


async def count_triggered(system: SystemUnderTest) -> int:
    """Count how often the faults of Twilio's simulator were triggered."""
    return sum(fault["struck"] for fault in (await system.control.state("twilio"))["faults"])


async def wait_until_in_flight(system: SystemUnderTest, number: int, seconds: float = PATIENCE) -> None:
    """Wait until so many messages are being sent."""
    await until(lambda: count_in_flight(system), lambda found: found >= number, seconds)


async def wait_until_claimed(system: SystemUnderTest) -> None:
    """Wait until a message is claimed and not begun; slow connections to PostgreSQL make that last."""
    await until(lambda: count_claimed_and_not_begun(system), lambda found: found > 0, PATIENCE)


def count_statuses(evidence: Evidence, accepted: list[AcceptedMessage] | None = None) -> Counter[str]:
    chosen = evidence.messages if accepted is None else {one.message_id for one in accepted}
    return Counter(evidence.messages[one]["status"] for one in chosen)


def count_copies(evidence: Evidence) -> Counter[int]:
    """Count how many messages the provider has 0 times, once, twice …"""
    return Counter(len(evidence.copies.get(one, [])) for one in evidence.messages)


def count_ever(evidence: Evidence, status: str) -> int:
    """Count the messages that ever had a status."""
    return sum(any(event["status"] == status for event in events) for events in evidence.events.values())
