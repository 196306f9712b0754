"""Everything the simulated WhatsApp remembers; it can be handed out and taken back."""

from dataclasses import dataclass, field
from datetime import datetime

from pydantic import TypeAdapter

from integrations.simulating.company import Json
from integrations.whatsapp.simulator.conditions import Conditions
from integrations.whatsapp.simulator.customers import Customer, first_customers
from integrations.whatsapp.simulator.message import Message
from integrations.whatsapp.simulator.templates import first_templates


@dataclass(slots=True)
class Books:
    """Messages by id, people by number, templates, circumstances, and reports waiting to fill a webhook."""

    customers: dict[str, Customer]
    messages: dict[str, Message] = field(default_factory=dict)
    templates: list[Json] = field(default_factory=first_templates)
    conditions: Conditions = field(default_factory=Conditions)
    waiting: list[Json] = field(default_factory=list)

    @classmethod
    def first_day(cls, now: datetime) -> "Books":
        """Nothing written but what the first customers have."""
        return cls(first_customers(now))

    def customer(self, digits: str) -> Customer:
        """The person with this number, a new one if need be."""
        return self.customers.setdefault(digits, Customer(digits))

    def find(self, message_id: str) -> Message | None:
        """A message that was sent, if it was."""
        message = self.messages.get(message_id)
        return message if message is not None and message.direction == "outbound" else None

    def written(self) -> Json:
        """The books as JSON."""
        shown: Json = TypeAdapter(Books).dump_python(self, mode="json")
        return shown

    @classmethod
    def read(cls, written: Json) -> "Books":
        """Read what `written` gave; raises pydantic's ValidationError."""
        return TypeAdapter(cls).validate_python(written)
