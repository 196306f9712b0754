"""What parcels add to the schema, and to messages."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from uuid import UUID

import strawberry
from core.parcels.noun import PARCEL, ParcelChange, parcels_by_id, parcels_of_message

from core.live.change_feed import subscribe_to_changes
from core.ports.identity import Scope
from resolvers.context import Info
from resolvers.fields import Node, computed, guarded, guarded_stream
from resolvers.global_ids import to_global_id, uuids
from resolvers.messages.types import Message
from resolvers.parts import SchemaPart, SubjectType


@strawberry.type(description="A parcel on its way to a person.")
class Parcel(Node):
    status: str


@strawberry.type(description="A parcel reached a status.")
class ParcelMoved:
    parcel_id: strawberry.ID
    status: str


@strawberry.type
class OfMessage:
    @computed("The parcels that the message announces.")
    async def parcels(self: Message, info: Info) -> list[Parcel]:
        tenant = info.context.require(Scope.MESSAGES_READ).tenant_id
        async with info.context.services.database.transaction(tenant) as connection:
            found = await parcels_of_message(connection, tenant, self.row.id)
        return [_parcel_of(id, status) for id, status in found.items()]


def _parcel_of(id: UUID, status: str) -> Parcel:
    return Parcel(id=to_global_id(PARCEL, id.bytes), status=status)


async def _parcels(info: Info, ids: Sequence[UUID]) -> Mapping[UUID, Parcel]:
    tenant = info.context.require(Scope.MESSAGES_READ).tenant_id
    async with info.context.services.database.transaction(tenant) as connection:
        found = await parcels_by_id(connection, tenant, ids)
    return {id: _parcel_of(id, status) for id, status in found.items()}


async def get_parcel_count(info: Info) -> int:
    tenant = info.context.require(Scope.MESSAGES_READ).tenant_id
    async with info.context.services.database.transaction(tenant) as connection:
        return len(await parcels_by_id(connection, tenant, None))


async def _fetch(info: Info, keys: Sequence[bytes]) -> Mapping[bytes, Node]:
    return {id.bytes: parcel for id, parcel in (await _parcels(info, uuids(keys))).items()}


async def _load(info: Info, id: UUID) -> Parcel | None:
    return (await _parcels(info, [id])).get(id)


@dataclass(frozen=True, slots=True)
class _Everything:
    ids: frozenset[UUID] | None = None

    def fits(self, _change: ParcelChange) -> bool:
        return True


async def parcel_moved(info: Info) -> AsyncGenerator[ParcelMoved, None]:
    tenant, feeds = info.context.require(Scope.MESSAGES_READ).tenant_id, info.context.services.feeds[PARCEL]
    async with aclosing(subscribe_to_changes(feeds, tenant, _Everything(), None)) as changes:
        async for change in changes:
            yield ParcelMoved(parcel_id=to_global_id(PARCEL, change.parcel_id.bytes), status=change.status)


@strawberry.type
class Queries:
    parcel_count: int = guarded(get_parcel_count, Scope.MESSAGES_READ, "How many parcels there are.")


@strawberry.type
class Subscriptions:
    parcel_moved: AsyncGenerator[ParcelMoved, None] = guarded_stream(
        parcel_moved, Scope.MESSAGES_READ, "Parcels that reach a status."
    )


PART = SchemaPart(
    queries=Queries,
    subscriptions=Subscriptions,
    types=[Parcel],
    nodes={PARCEL: _fetch},
    subjects={PARCEL: SubjectType(Parcel, _load)},
    extensions={Message: OfMessage},
)
