"""Everything the simulated Twilio remembers; it can be handed out and taken back."""

from dataclasses import dataclass, field
from typing import Annotated

from pydantic import AfterValidator

from integrations.simulating.memory import WHOLE
from integrations.twilio.simulator.message import Message


def _by_their_ids(messages: dict[str, Message]) -> dict[str, Message]:
    if any(key != message.id for key, message in messages.items()):
        raise ValueError("every message is kept under its own id")
    return messages


@dataclass(slots=True)
class Books:
    """Messages by id, and who wants no more of them: (customer, our number)."""

    __pydantic_config__ = WHOLE

    messages: Annotated[dict[str, Message], AfterValidator(_by_their_ids)] = field(default_factory=dict)
    opted_out: list[tuple[str, str]] = field(default_factory=list)

    def opt_out(self, customer: str, ours: str) -> None:
        """Note that a customer wants no more."""
        if (customer, ours) not in self.opted_out:
            self.opted_out.append((customer, ours))

    def opt_in(self, customer: str, ours: str) -> None:
        """Note that they want messages again."""
        self.opted_out = [pair for pair in self.opted_out if pair != (customer, ours)]

    def sent(self, message_id: str | None = None) -> Message | None:
        """An outbound message; the newest when none is named."""
        outbound = (one for one in reversed(self.messages.values()) if one.direction != "inbound")
        return next((one for one in outbound if message_id in (None, one.id)), None)
