"""What a company can be made to tell us, by name: each event with its sentence and what it may be given."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, Field

from integrations.simulating.webhooks import Webhook

Order = TypeVar("Order", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Event:
    """One event: `make` does it and gives the signed webhook that tells of it; raises like an action."""

    words: str
    parameters: Sequence[str]
    make: Callable[[Mapping[str, Any]], Webhook]


class AboutOrder(BaseModel, frozen=True, extra="forbid"):
    """Which message it is about, by the company's id: the newest that was sent when none is named."""

    message: str | None = Field(None, min_length=1, max_length=256)


def event(words: str, order: type[Order], make: Callable[[Order], Webhook]) -> Event:
    """An event that takes what the fields of an order say."""
    return Event(words, tuple(order.model_fields), lambda given: make(order.model_validate(given)))
