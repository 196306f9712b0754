"""Saying something to a person: the channels, what can be said, and what a company answers."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol
from uuid import UUID


class Channel(StrEnum):
    """A way to reach a person."""

    WHATSAPP = "WHATSAPP"
    SMS = "SMS"
    EMAIL = "EMAIL"


@dataclass(frozen=True, slots=True)
class TextContent:
    """Plain words."""

    text: str


@dataclass(frozen=True, slots=True)
class EmailContent:
    """An e-mail: a subject and at least one of two bodies."""

    subject: str
    plain_text: str | None = None
    html: str | None = None


@dataclass(frozen=True, slots=True)
class ButtonParameter:
    """What fills the gap of one template button: `index` counts from 0, `kind` is the company's word for it."""

    index: int
    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class TemplateContent:
    """A template agreed beforehand, its gaps filled.

    `header` and `body` hold (name, text) in the template's order, the name None where gaps are numbered. `rendered` is
    what the reader sees.
    """

    name: str
    locale: str
    header: Sequence[tuple[str | None, str]] = ()
    body: Sequence[tuple[str | None, str]] = ()
    buttons: Sequence[ButtonParameter] = ()
    rendered: str = ""


Content = TextContent | EmailContent | TemplateContent


@dataclass(frozen=True, slots=True)
class Reference:
    """Our name for one attempt; goes out with it and comes back in every report about it."""

    tenant_id: UUID
    message_id: UUID
    attempt: int

    def __str__(self) -> str:
        return f"{self.tenant_id.hex}.{self.message_id.hex}.{self.attempt}"

    @classmethod
    def parse(cls, text: str | None) -> "Reference | None":
        """Read what `str()` wrote; None for anything else."""
        try:
            tenant, message, attempt = (text or "").split(".")
            return cls(UUID(hex=tenant), UUID(hex=message), int(attempt))
        except ValueError:
            return None


@dataclass(frozen=True, slots=True)
class OutboundMessage:
    """One attempt to say something to one address over one channel.

    `to` is a number in E.164 form, a mailbox, or a company's own id for a person who shows no number.
    `in_reply_to` is the company's id of the message this one answers.
    """

    reference: Reference
    channel: Channel
    to: str
    content: Content
    in_reply_to: str | None = None


@dataclass(frozen=True, slots=True)
class Receipt:
    """The company took it; `provider_message_id` is its name for the message, `detail` its own words.

    `recipient_id` is the company's own id of the recipient where it differs from the address we gave. `answer` is what
    it said, as far as it may be kept in plain: codes and ids, never words or addresses.
    """

    provider_message_id: str | None
    detail: str | None = None
    recipient_id: str | None = None
    answer: str | None = None


class MessageSender(Protocol):
    """Says a message to a company."""

    async def send(self, message: OutboundMessage) -> Receipt:
        """Hand the message over.

        Raises a ProviderError: Unavailable (surely not done), Rejected, Misconfigured or OutcomeUnknown.
        """
        ...
