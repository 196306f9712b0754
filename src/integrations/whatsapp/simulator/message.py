"""A message as the simulated WhatsApp keeps it, and how its webhooks name it."""

from base64 import b64encode
from dataclasses import dataclass, field
from secrets import token_hex

from pydantic import AwareDatetime

from integrations.simulating.company import Json
from integrations.simulating.memory import WHOLE
from integrations.whatsapp.simulator.customers import Customer, digits_of
from integrations.whatsapp.simulator.outcomes import Status


@dataclass(slots=True)
class Message:
    """One message, outbound or inbound; `content` is the object named like its kind, `history` every status."""

    __pydantic_config__ = WHOLE

    id: str
    at: AwareDatetime
    direction: str
    customer: str
    """The digits of the person's number."""
    our_id: str
    """The id of our number."""
    kind: str
    content: Json
    text: str
    """What the reader sees."""
    to: str
    """The recipient as they were addressed."""
    status: str
    reference: str | None = None
    reply_to: str | None = None
    pricing: Json | None = None
    is_outside_window: bool = False
    """Whether the person had not written for 24 hours when it was sent."""
    error_code: int | None = None
    history: list[str] = field(default_factory=list)

    def become(self, status: Status) -> None:
        """Come to a status."""
        self.status, self.error_code = status.word, status.error_code
        self.history.append(status.word)

    def concerns(self, address: str) -> bool:
        """Whether it went to this number, however written, or to this user id."""
        wanted = self.our_id if self.direction == "inbound" else self.customer
        return wanted in (address, digits_of(address))

    def shown(self) -> Json:
        """The message for the control API."""
        ours, theirs = self.our_id, f"+{self.customer}"
        return {
            "id": self.id,
            "at": self.at.isoformat(),
            "direction": self.direction,
            "from": theirs if self.direction == "inbound" else ours,
            "to": ours if self.direction == "inbound" else theirs,
            "addressed_as": self.to,
            "kind": self.kind,
            "text": self.text,
            "content": self.content,
            "status": self.status,
            "history": self.history,
            "error_code": self.error_code,
            "reference": self.reference,
            "reply_to": self.reply_to,
        }


def new_id(customer: Customer) -> str:
    """A message's id; Meta's hold the person's number, too."""
    name = customer.wa_id.encode()
    inside = (
        b"\x1c\x18" + bytes([len(name)]) + name + b"\x15\x02\x00\x11\x18\x12" + token_hex(9).upper().encode() + b"\x00"
    )
    return f"wamid.{b64encode(inside).decode()}"
