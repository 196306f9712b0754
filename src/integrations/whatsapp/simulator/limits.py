"""How much may be sent: to one person, in a second, and in a day to people who did not write first.

https://developers.facebook.com/docs/whatsapp/messaging-limits
"""

from collections.abc import Iterable
from datetime import datetime, timedelta

from integrations.whatsapp.simulator.conditions import Conditions
from integrations.whatsapp.simulator.customers import Customer
from integrations.whatsapp.simulator.errors import MetaError
from integrations.whatsapp.simulator.message import Message

PAIR_PAUSE, PAIR_BURST = timedelta(seconds=6), 45
"""One message in six seconds to the same person, up to 45 of them at once."""
DAY, SECOND = timedelta(days=1), timedelta(seconds=1)


def over_limit(
    customer: Customer, now: datetime, conditions: Conditions, messages: Iterable[Message]
) -> MetaError | None:
    """The limit that keeps a message to this person from being taken, if any."""
    if customer.paced_until is not None and customer.paced_until - now > PAIR_PAUSE * (PAIR_BURST - 1):
        return MetaError(131056, "Too many messages from this number to the same recipient in a short time.")
    if conditions.throughput is None and conditions.messaging_limit is None:
        return None
    ours = [message for message in messages if message.direction == "outbound"]
    if conditions.throughput is not None and _since(ours, now - SECOND) >= conditions.throughput:
        return MetaError(130429, "The number sends more messages a second than its throughput.")
    if conditions.messaging_limit is None or customer.window_is_open(now):
        return None
    reached = {message.customer for message in ours if message.is_outside_window and message.at > now - DAY}
    if customer.digits not in reached and len(reached) >= conditions.messaging_limit:
        return MetaError(131048, "There are restrictions on how many messages can be sent from this number.")
    return None


def pace(customer: Customer, now: datetime) -> None:
    """Count a message to this person."""
    customer.paced_until = max(customer.paced_until or now, now) + PAIR_PAUSE


def _since(messages: Iterable[Message], moment: datetime) -> int:
    return sum(1 for message in messages if message.at > moment)
