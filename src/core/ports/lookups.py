"""Asking a company afterwards what became of a message."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Protocol

from core.ports.reports import Failure, ReportedStatus
from core.ports.sending import Channel, Content, Reference


@dataclass(frozen=True, slots=True)
class Sought:
    """An attempt whose fate is to be asked for; `provider_message_id` where the company's own id is known."""

    reference: Reference
    channel: Channel
    to: str
    content: Content
    started_at: datetime
    provider_message_id: str | None = None


@dataclass(frozen=True, slots=True)
class Sighting:
    """A message as the company's own books show it; `status` is None while the company has not decided."""

    provider_message_id: str
    status: ReportedStatus | None
    failure: Failure | None = None
    created_at: datetime | None = None


class DeliveryLookup(Protocol):
    """Asks a company what became of what we may have sent."""

    async def find(self, sought: Sought) -> Sequence[Sighting]:
        """Look for what may be this attempt, the likeliest first; empty when the company knows nothing like it.

        Raises a ProviderError, also where the books could not be read to their end: silence would say too much.
        """
        ...

    async def count(self, day: date) -> int | None:
        """How many messages the company counts as sent by us on a day in UTC; None where it does not say.

        Raises a ProviderError.
        """
        ...
