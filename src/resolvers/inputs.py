"""Inputs that several nouns take: a person, a range of time, integrations."""

from collections.abc import Sequence
from datetime import datetime

import strawberry

from core.pagination import TimeRange, time_range
from core.person import Person, read_person
from resolvers.fields import given
from resolvers.integrations import IntegrationKind
from resolvers.scalars import EmailAddress, PhoneNumber


@strawberry.input(one_of=True, description="The recipient. Give exactly one field.")
class RecipientInput:
    phone: PhoneNumber | None = strawberry.UNSET
    email: EmailAddress | None = strawberry.UNSET
    whatsapp_user_id: str | None = strawberry.field(
        default=strawberry.UNSET,
        description="WhatsApp's id of a person who hides the number: the field `from` of a message from the person.",
    )


def person_of(written: RecipientInput, path: Sequence[str]) -> Person:
    """Read who is meant, in whichever spelling; raises InvalidInput."""
    return read_person(
        phone=given(written.phone),
        email=given(written.email),
        whatsapp_user_id=given(written.whatsapp_user_id),
        path=path,
    )


@strawberry.input(description="A range of time: `start` is included, `end` is not. Leave one out for an open range.")
class TimeRangeInput:
    start: datetime | None = strawberry.UNSET
    end: datetime | None = strawberry.UNSET


def span_of(range: TimeRangeInput | None, path: Sequence[str]) -> TimeRange:
    """A span of time as core knows it; raises InvalidInput when it ends before it begins."""
    return time_range(given(range.start), given(range.end), [*path, "end"]) if range else TimeRange()


def names_of(kinds: Sequence[IntegrationKind] | None) -> Sequence[str] | None:
    """Integrations by the names of their folders."""
    return None if kinds is None else [kind.value for kind in kinds]
