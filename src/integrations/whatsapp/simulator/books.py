"""Everything the simulated WhatsApp remembers; it can be handed out and taken back."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated

from pydantic import AfterValidator, BaseModel, Field

from integrations.simulating.company import Json
from integrations.simulating.memory import WHOLE
from integrations.whatsapp.simulator.conditions import Conditions
from integrations.whatsapp.simulator.customers import Customer, first_customers
from integrations.whatsapp.simulator.message import Message
from integrations.whatsapp.simulator.templates import first_templates


class _Template(BaseModel):
    """What every template has, besides whatever Meta adds."""

    id: str = Field(pattern="^[0-9]{1,20}$")
    name: str
    language: str
    status: str
    category: str
    components: list[Json]


class _Waiting(BaseModel, extra="forbid"):
    """A report with the people it introduces."""

    contacts: list[Json]
    status: Json


def _like_a_template(one: Json) -> Json:
    _Template.model_validate(one)
    return one


def _like_a_report(one: Json) -> Json:
    _Waiting.model_validate(one)
    if not all(isinstance(contact.get("user_id"), str) for contact in one["contacts"]):
        raise ValueError("everybody in contacts has a user_id")
    return one


def _by_their_ids(messages: dict[str, Message]) -> dict[str, Message]:
    if any(key != message.id for key, message in messages.items()):
        raise ValueError("every message is kept under its own id")
    return messages


def _by_their_digits(customers: dict[str, Customer]) -> dict[str, Customer]:
    if any(key != customer.digits for key, customer in customers.items()):
        raise ValueError("everybody is kept under their own digits")
    return customers


@dataclass(slots=True)
class Books:
    """Messages by id, people by number, templates, circumstances, and reports waiting to fill a webhook."""

    __pydantic_config__ = WHOLE

    customers: Annotated[dict[str, Customer], AfterValidator(_by_their_digits)]
    messages: Annotated[dict[str, Message], AfterValidator(_by_their_ids)] = field(default_factory=dict)
    templates: list[Annotated[Json, AfterValidator(_like_a_template)]] = field(default_factory=first_templates)
    conditions: Conditions = field(default_factory=Conditions)
    waiting: list[Annotated[Json, AfterValidator(_like_a_report)]] = field(default_factory=list)

    @classmethod
    def first_day(cls, now: datetime) -> "Books":
        """Nothing written but what the first customers have."""
        return cls(first_customers(now))

    def customer(self, digits: str) -> Customer:
        """The person with this number, a new one if need be."""
        return self.customers.setdefault(digits, Customer(digits))

    def sent(self, message_id: str | None = None) -> Message | None:
        """A message that was sent; the newest when none is named."""
        outbound = (one for one in reversed(self.messages.values()) if one.direction == "outbound")
        return next((one for one in outbound if message_id in (None, one.id)), None)
