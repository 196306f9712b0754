"""The requests of the control API for the simulated WhatsApp."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from integrations.simulating.provider import Json
from integrations.simulating.webhooks import AboutOrder, matching

SENDER = "write a number with its country code, like +55 11 98765-4321, or a WhatsApp user id"
Sender = Annotated[str, matching(r"[^\x00-\x1f]{3,64}", SENDER)]
Kind = Annotated[str, matching("[a-z_]{1,32}", "write a kind of message in small letters, like text or image")]


class InboundOrder(BaseModel, frozen=True, extra="forbid"):
    """A person writes to our number: `sender` is a number or a user id, `text` the words of whatever `kind`.

    `content` takes the place of the object named like the kind, for kinds and fields nobody here knows.
    """

    sender: Sender
    text: str | None = Field(None, max_length=4096)
    recipient: str | None = None
    kind: Kind = "text"
    reply_to: str | None = None
    name: str | None = Field(None, max_length=64)
    username: str | None = Field(None, max_length=64)
    content: Json | None = None


class ReportOrder(BaseModel, frozen=True, extra="forbid"):
    """Something becomes of a message."""

    status: Literal["sent", "delivered", "read", "played", "failed"]
    code: int | None = Field(None, ge=0, le=999_999)


class TemplateOrder(BaseModel, frozen=True, extra="forbid"):
    """A template comes to another state: all its languages, or one."""

    name: str
    language: str | None = None
    status: Literal["APPROVED", "PENDING", "REJECTED", "PAUSED", "DISABLED"]


class ChangeOrder(BaseModel, frozen=True, extra="forbid"):
    """A webhook of any content; `value` goes out as it is, signed."""

    field: str = "messages"
    value: Any


class WritesOrder(BaseModel, frozen=True, extra="forbid"):
    """For an event: Ana writes, unless somebody else is named; `message` is the one of ours that she answers."""

    sender: Sender = "+5511987654321"
    text: str = Field("Oi! Já saiu o meu pedido?", max_length=4096)
    message: str | None = Field(None, max_length=256)
    kind: Kind = "text"
    name: str | None = Field(None, max_length=64)
    username: str | None = Field(None, max_length=64)

    def as_inbound(self) -> InboundOrder:
        """The same as the control API takes it."""
        return InboundOrder(reply_to=self.message, **self.model_dump(exclude={"message"}))


class FailsOrder(AboutOrder, frozen=True):
    """A message does not arrive, for one of Meta's reasons."""

    code: int = Field(131026, ge=0, le=999_999)


class TemplateEventOrder(BaseModel, frozen=True, extra="forbid"):
    """Meta changes its mind about a template."""

    template: str = Field("appointment_reminder", max_length=512)
    language: str | None = Field(None, max_length=16)
