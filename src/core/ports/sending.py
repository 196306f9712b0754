"""Sending a message: channels, content, and the provider's receipt."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol
from uuid import UUID


class Channel(StrEnum):
    """A channel to a person."""

    WHATSAPP = "WHATSAPP"
    SMS = "SMS"
    EMAIL = "EMAIL"


@dataclass(frozen=True, slots=True)
class TextContent:
    """Plain text."""

    text: str


@dataclass(frozen=True, slots=True)
class EmailContent:
    """An e-mail: a subject and at least one of two bodies."""

    subject: str
    plain_text: str | None = None
    html: str | None = None


@dataclass(frozen=True, slots=True)
class ButtonParameter:
    """The value of one template button's gap: `index` counts from 0, `kind` is the provider's term."""

    index: int
    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class TemplateContent:
    """A template with its gaps filled.

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


MESSAGE = "Message"
"""The kind of the subjects that are messages."""


@dataclass(frozen=True, slots=True)
class Reference:
    """Our id of one attempt; it is sent with the message and comes back in every report about it."""

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
    """One attempt to send a message to one address over one channel.

    `to` is a number in E.164 form, a mailbox, or the provider's own id of a person without a number.
    `in_reply_to` is the provider's id of the message that this one answers.
    """

    reference: Reference
    channel: Channel
    to: str
    content: Content
    in_reply_to: str | None = None


@dataclass(frozen=True, slots=True)
class Receipt:
    """The provider took a message; `provider_message_id` is its id, `detail` its own text.

    `recipient_id` is the provider's own id of the recipient where it differs from the address that was given. `answer`
    is the part of its answer that may be kept unencrypted: codes and ids, never text or addresses.
    """

    provider_message_id: str | None
    detail: str | None = None
    recipient_id: str | None = None
    answer: str | None = None


class MessageSender(Protocol):
    """Sends messages through a provider."""

    async def send(self, message: OutboundMessage) -> Receipt:
        """Send a message.

        Raises a ProviderError: Unavailable (surely not done), Rejected, Misconfigured or OutcomeUnknown.
        """
        ...
