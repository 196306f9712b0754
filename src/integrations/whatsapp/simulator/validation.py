"""What Meta refuses in a message, in its order, and the limits on how many messages may be sent."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from integrations.simulating.provider import Json
from integrations.whatsapp.simulator.account import Account, Conditions, MetaError
from integrations.whatsapp.simulator.state import Customer, Message, digits_of, refused_with
from integrations.whatsapp.simulator.templates import Filling

TEXT_LIMIT, REFERENCE_LIMIT = 4096, 512
SIMULATED = ("text", "template")
_WAMID = re.compile(r"wamid\.[A-Za-z0-9+/=_-]+")


@dataclass(frozen=True, slots=True)
class Sending:
    """A request to send a message; `to` wins where both ways to address a person are used."""

    body: Json
    account: Account
    filling: Filling

    @property
    def address(self) -> str:
        to = self.body.get("to") or self.body.get("recipient")
        return str(to) if isinstance(to, str | int) else ""

    @property
    def is_by_user_id(self) -> bool:
        return not self.body.get("to")

    @property
    def digits(self) -> str:
        return digits_of(self.address) or ""

    @property
    def kind(self) -> Any:
        return self.body.get("type", "text")

    @property
    def text(self) -> Json:
        text = self.body.get("text")
        return text if isinstance(text, dict) else {}


def refusal(sending: Sending) -> MetaError | None:
    """The first thing wrong with a message, if any."""
    return next((error for rule in _RULES if (error := rule(sending))), None)


def _product_is_missing(sending: Sending) -> MetaError | None:
    if sending.body.get("messaging_product") != "whatsapp":
        return MetaError(100, "messaging_product must be whatsapp", text="The parameter messaging_product is required.")
    return None


def _recipient_cannot_be(sending: Sending) -> MetaError | None:
    if not sending.address:
        return MetaError(100, "to or recipient is needed", text="The parameter to is required.")
    if sending.body.get("recipient_type", "individual") != "individual":
        return MetaError(100, "the simulator knows no groups: recipient_type must be individual")
    is_user_id = bool(re.match(r"[A-Z]{2}\.", sending.address))
    if not sending.digits or is_user_id != sending.is_by_user_id:
        return MetaError(131009, "to is a phone number with its country code, recipient a business-scoped user id")
    if sending.digits == sending.account.number:
        return MetaError(131021)
    code = refused_with(sending.digits)
    return MetaError(code, "This recipient is there to be refused.") if code else None


def _reference_is_too_long(sending: Sending) -> MetaError | None:
    reference = sending.body.get("biz_opaque_callback_data", "")
    if not isinstance(reference, str) or len(reference) > REFERENCE_LIMIT:
        return MetaError(100, f"biz_opaque_callback_data has at most {REFERENCE_LIMIT} characters")
    return None


def _context_names_no_message(sending: Sending) -> MetaError | None:
    context = sending.body.get("context")
    if context is None:
        return None
    answered = context.get("message_id") if isinstance(context, dict) else None
    is_fine = isinstance(answered, str) and _WAMID.fullmatch(answered)
    return None if is_fine else MetaError(131009, "context.message_id is no id of a message")


def _type_is_unknown(sending: Sending) -> MetaError | None:
    if sending.kind not in SIMULATED:
        # Left aside in silence, it would make a test lie.
        return MetaError(131051, f"the simulator sends {' and '.join(SIMULATED)} only; nothing was sent")
    return None


def _text_is_wrong(sending: Sending) -> MetaError | None:
    if sending.kind != "text":
        return None
    words = sending.text.get("body")
    if not isinstance(words, str) or not words.strip():
        return MetaError(131008, "text.body is required", text="The parameter text['body'] is required.")
    if len(words) > TEXT_LIMIT:
        return MetaError(100, text=f"Param text['body'] must be at most {TEXT_LIMIT} characters long.")
    return None


def _template_is_wrong(sending: Sending) -> MetaError | None:
    if sending.kind != "template":
        return None
    if error := sending.filling.refusal():
        return error
    if sending.is_by_user_id and sending.filling.template["category"] == "AUTHENTICATION":
        return MetaError(131062, "A one-time code needs a phone number: to, not recipient.")
    return None


_RULES: tuple[Callable[[Sending], MetaError | None], ...] = (
    _product_is_missing,
    _recipient_cannot_be,
    _reference_is_too_long,
    _context_names_no_message,
    _type_is_unknown,
    _text_is_wrong,
    _template_is_wrong,
)


# Sending limits: to one person, per second, and per day to people who did not write first.
#
# https://developers.facebook.com/docs/whatsapp/messaging-limits


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
