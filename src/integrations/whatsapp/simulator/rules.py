"""What Meta refuses in the body of a message, in the order in which it looks; how a template is filled has its file."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from integrations.simulating.company import Json
from integrations.whatsapp.simulator.account import Account
from integrations.whatsapp.simulator.customers import digits_of
from integrations.whatsapp.simulator.errors import MetaError
from integrations.whatsapp.simulator.outcomes import refused_with
from integrations.whatsapp.simulator.templates import Filling

TEXT_LIMIT, REFERENCE_LIMIT = 4096, 512
SIMULATED = ("text", "template")
_WAMID = re.compile(r"wamid\.[A-Za-z0-9+/=_-]+")


@dataclass(frozen=True, slots=True)
class Sending:
    """A message somebody wants to send; `to` wins where both ways to address a person are used."""

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
