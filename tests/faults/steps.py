"""Steps of the fault tests: messages are sent, and a state of theirs is waited for and counted."""

from collections import Counter
from itertools import islice
from random import Random

from tests.faults.evidence import Evidence
from tests.faults.system import SystemUnderTest
from tests.faults.traffic import AcceptedMessage, Order, Traffic
from tests.helpers import until

PATIENCE = 40.0


def sms_traffic(city: SystemUnderTest, seed: str) -> Traffic:
    """Clients that send nothing but SMS, each once."""
    return Traffic(city, seed, emails=0.0, twice=0.0)


async def send(traffic: Traffic, number: int, *, at_once: int = 8) -> list[Order]:
    """Have so many messages accepted."""
    chance = Random(traffic.seed)
    orders = [traffic.draw(chance) for _ in range(number)]
    await traffic.burst(orders, at_once=at_once)
    return orders


async def answer_orders(city: SystemUnderTest, number: int, *, on_unconfirmed: str | None = None) -> list[Order]:
    """Orders for people who have just written to us over WhatsApp, and so may be answered without a template."""
    orders = []
    for one in islice(city.numbers, number):
        phone = f"+55119{82_000_000 + one}"
        await city.control.inbound("whatsapp", sender=phone, text="Oi")
        orders.append(Order(city.tenants[0], f"answer-{one}", "WHATSAPP", phone, on_unconfirmed=on_unconfirmed))
    return orders


async def send_answers(traffic: Traffic, number: int) -> list[Order]:
    """Have so many answers accepted; WhatsApp paces each person, so claiming and beginning are two steps only there."""
    orders = await answer_orders(traffic.city, number)
    await traffic.burst(orders, at_once=8)
    return orders


async def count_claimed_and_not_begun(city: SystemUnderTest) -> int:
    [row] = await city.cellar.fetch(
        "SELECT count(*) FROM messages m JOIN attempts a ON a.tenant_id = m.tenant_id AND a.message_id = m.id"
        " AND a.number = m.attempt_count WHERE m.lease_until IS NOT NULL AND a.started_at IS NULL"
    )
    return int(row[0])


async def count_in_flight(city: SystemUnderTest) -> int:
    """Begun by somebody who still holds them, and their ends not written down."""
    [row] = await city.cellar.fetch("SELECT count(*) FROM messages WHERE lease_until > now() AND status = 'SENDING'")
    return int(row[0])


async def count_taken_by_twilio(city: SystemUnderTest) -> int:
    """How many messages Twilio has."""
    return len(await city.control.messages("twilio"))


async def count_triggered(city: SystemUnderTest) -> int:
    """How often an armed fault has struck."""
    return sum(fault["struck"] for fault in (await city.control.state("twilio"))["faults"])


async def wait_until_in_flight(city: SystemUnderTest, number: int, seconds: float = PATIENCE) -> None:
    """Wait until so many are under way."""
    await until(lambda: count_in_flight(city), lambda found: found >= number, seconds)


async def wait_until_claimed(city: SystemUnderTest) -> None:
    """Wait for the moment between claim and begin; a slow wire makes it long."""
    await until(lambda: count_claimed_and_not_begun(city), lambda found: found > 0, PATIENCE)


def count_statuses(evidence: Evidence, acked: list[AcceptedMessage] | None = None) -> Counter[str]:
    chosen = evidence.messages if acked is None else {one.message_id for one in acked}
    return Counter(evidence.messages[one]["status"] for one in chosen)


def count_copies(evidence: Evidence) -> Counter[int]:
    """How many messages have how many copies at the company."""
    return Counter(len(evidence.copies.get(one, [])) for one in evidence.messages)


def count_ever(evidence: Evidence, status: str) -> int:
    """How many messages ever came to a status."""
    return sum(any(event["status"] == status for event in events) for events in evidence.events.values())
