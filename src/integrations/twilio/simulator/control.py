"""The requests of the control API for the simulated Twilio."""

import re
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, Field

from integrations.simulating.webhooks import AboutOrder, matching

Number = Annotated[str, matching(r"\+?[0-9]{3,15}", "write a number of 3 to 15 digits, like +55 11 98765-4321")]


def _bare(number: object) -> object:
    return re.sub(r"[ ().-]", "", number) if isinstance(number, str) else number


class InboundOrder(BaseModel, frozen=True, extra="forbid"):
    """A customer writes to one of our numbers."""

    sender: Number
    text: str = Field(max_length=1600)
    recipient: str | None = None


class ReportOrder(BaseModel, frozen=True, extra="forbid"):
    """Something becomes of a message."""

    status: Literal["queued", "sending", "sent", "delivered", "undelivered", "failed"]
    code: int | None = Field(None, ge=10000, le=99999)


class WritesOrder(InboundOrder, frozen=True):
    """The same for an event: Ana writes, unless somebody else is named, in any way people write numbers."""

    sender: Annotated[Number, BeforeValidator(_bare)] = "+5511987654321"
    text: str = Field("Oi! Já saiu o meu pedido?", max_length=1600)


class FailsOrder(AboutOrder, frozen=True):
    """A message does not arrive, for one of Twilio's reasons."""

    code: int = Field(30003, ge=10000, le=99999)
