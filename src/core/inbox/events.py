"""The types of events that the nouns understand: encoding an event for its sealed column, and finding its handler."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from core.errors import BrokenContribution
from core.nouns import EventAddress, EventHandler, EventOutcomes, EventType, InboxEvent, Owner, SubjectKey
from core.ports import OtherEvent, ProviderEvent, Reference
from core.ports.sending import MESSAGE
from core.sealing import Sealer


class UnknownEvent(LookupError):
    """No noun of this version understands an event; the text names its code or its type."""


class EventTypes:
    """All types of events, by code and by class, with the owners of the resources that events come in on.

    Raises BrokenContribution where two types share a code or a class, or two owners a kind of resource.
    """

    def __init__(self, types: Iterable[EventType[Any]], owners: Iterable[Owner] = ()) -> None:
        self._by_code: dict[str, EventType[Any]] = {}
        self._by_class: dict[type[ProviderEvent], EventType[Any]] = {}
        self.owners: dict[str, Owner] = {}
        for one in (*types, _OTHER):
            if one.code in self._by_code or one.type in self._by_class:
                raise BrokenContribution(f"the event type {one.code} ({one.type.__name__}) is contributed twice")
            self._by_code[one.code] = self._by_class[one.type] = one
        for owner in owners:
            if owner.resource in self.owners:
                raise BrokenContribution(f"the owners of {owner.resource} are contributed twice")
            self.owners[owner.resource] = owner

    def understands(self, kind: type[ProviderEvent]) -> bool:
        """Whether a noun handles events of this class."""
        return kind in self._by_class

    def encode(self, event: ProviderEvent) -> str:
        """Encode an event without its part of the payload, which has a column of its own. Raises UnknownEvent."""
        found = self._of(event)
        data = {"key": event.dedupe_key, "type": event.event_type, "kind": found.code}
        return json.dumps(data | dict(found.encode(event)))

    def decode(self, text: str) -> ProviderEvent:
        """Decode what `encode` wrote, also in an earlier version, which wrote fewer fields. Raises UnknownEvent."""
        data = json.loads(text)
        found = self._by_code.get(data.get("kind"))
        if found is None:
            raise UnknownEvent(f"no noun understands events of the kind {data.get('kind')}")
        event: ProviderEvent = found.decode(data["key"], data["type"], data)
        return event

    def owner_of(self, resource: str) -> Owner:
        """How the owners of a kind of resource are found. Raises UnknownEvent."""
        found = self.owners.get(resource)
        if found is None:
            raise UnknownEvent(f"no noun knows the owners of resources of the kind {resource}")
        return found

    def address_of(self, event: ProviderEvent) -> EventAddress:
        """The tenant, object or resource that an event names. Raises UnknownEvent."""
        return self._of(event).address_of(event)

    def by_handler(self, taken: Sequence[InboxEvent]) -> Sequence[tuple[EventHandler, Sequence[InboxEvent]]]:
        """Events with their handlers, in one order in all processes: that of the types."""
        groups: dict[EventHandler, list[InboxEvent]] = {one.handle: [] for one in self._by_code.values()}
        for kept in taken:
            groups[self._of(kept.event).handle].append(kept)
        return [(handle, events) for handle, events in groups.items() if events]

    def _of(self, event: ProviderEvent) -> EventType[Any]:
        found = self._by_class.get(type(event))
        if found is None:
            raise UnknownEvent(f"no noun understands events of the class {type(event).__name__}")
        return found


async def _ignore(_connection: AsyncConnection, _sealer: Sealer, events: Sequence[InboxEvent]) -> EventOutcomes:
    return EventOutcomes(ignored=[kept.place for kept in events])


def _encode_other(event: OtherEvent) -> Mapping[str, Any]:
    return {"reference": str(event.reference) if event.reference else None}


def _decode_other(key: str, name: str, data: Mapping[str, Any]) -> OtherEvent:
    return OtherEvent(key, name, "", reference=Reference.parse(data.get("reference")))


def address_of_reference(reference: Reference | None) -> EventAddress:
    """Where an event with our own reference belongs; without one it names no tenant."""
    if reference is None:
        return EventAddress()
    return EventAddress(reference.tenant_id, SubjectKey(MESSAGE, reference.message_id))


_OTHER = EventType(
    "other", OtherEvent, _encode_other, _decode_other, _ignore, lambda e: address_of_reference(e.reference)
)
