"""Parcels as a noun: everything that a noun can contribute."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import UUID

from core.parcels.tables import parcel_events, parcels
from core.ports.parcels import ParcelMoved
from sqlalchemy import ARRAY, Row, Text, bindparam, insert, select, text, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from core.dead_letters.store import NewDeadLetter, Resolution, add_dead_letters, close_for_subjects
from core.live.change_feed import FeedChange
from core.live.cursors import Cursor
from core.live.event_log import EventLog
from core.nouns import (
    ChangeKind,
    Counter,
    Erased,
    EventAddress,
    EventOutcomes,
    EventType,
    InboxEvent,
    Installation,
    Loop,
    Noun,
    Owner,
    PersonalData,
    PersonStep,
    Requeued,
    Subject,
    SubjectKey,
    SubjectOrder,
    TenantResource,
    WorkerContext,
    WorkerPlan,
)
from core.pubsub import Change
from core.sealing import Sealer

PARCEL, SHIP = "Parcel", "parcel.ship"


def _encode(event: ParcelMoved) -> Mapping[str, Any]:
    ours = {"tenant": str(event.tenant_id), "parcel": str(event.parcel_id)} if event.parcel_id else {}
    return {"status": event.status, "depot": event.depot, **ours}


def _decode(key: str, name: str, data: Mapping[str, Any]) -> ParcelMoved:
    tenant, parcel = data.get("tenant"), data.get("parcel")
    return ParcelMoved(
        key,
        name,
        "",
        status=data["status"],
        depot=data["depot"],
        tenant_id=UUID(tenant) if tenant else None,
        parcel_id=UUID(parcel) if parcel else None,
    )


def _address_of(event: ParcelMoved) -> EventAddress:
    if event.tenant_id is not None and event.parcel_id is not None:
        return EventAddress(event.tenant_id, SubjectKey(PARCEL, event.parcel_id))
    return EventAddress(resource=("depot", event.depot or ""))


async def _apply(connection: AsyncConnection, _sealer: Sealer, events: Sequence[InboxEvent]) -> EventOutcomes:
    outcomes = EventOutcomes()
    for kept in events:
        if not isinstance(kept.event, ParcelMoved):
            continue
        if kept.event.status == "BROKEN":
            raise ValueError("the carrier sent a status that the handler cannot stand")
        if kept.event.status == "FORGOTTEN":
            continue
        if kept.event.parcel_id is None:
            outcomes.ignored.append(kept.place)
            continue
        tenant = kept.place.tenant_id
        if await move(connection, tenant, kept.event.parcel_id, kept.event.status):
            outcomes.processed[kept.place] = SubjectKey(PARCEL, kept.event.parcel_id)
            outcomes.changes.append(Change(tenant, kept.event.parcel_id, PARCEL))
        else:
            outcomes.unknown.append(kept.place)
            outcomes.names_ours.add(kept.place)
    return outcomes


async def move(connection: AsyncConnection, tenant: UUID, parcel: UUID, status: str) -> bool:
    """Give a parcel a status; False where there is no such parcel."""
    chosen = update(parcels).where(parcels.c.tenant_id == tenant, parcels.c.id == parcel)
    moved = await connection.execute(chosen.values(status=status).returning(parcels.c.id))
    if not moved.all():
        return False
    await connection.execute(insert(parcel_events).values(tenant_id=tenant, parcel_id=parcel, status=status))
    return True


async def parcels_by_id(connection: AsyncConnection, tenant: UUID, ids: Collection[UUID] | None) -> Mapping[UUID, str]:
    """The statuses of parcels, or of all where no ids are given."""
    chosen = select(parcels.c.id, parcels.c.status).where(parcels.c.tenant_id == tenant)
    if ids is not None:
        chosen = chosen.where(parcels.c.id.in_(list(ids)))
    return {row.id: row.status for row in await connection.execute(chosen)}


async def parcels_of_message(connection: AsyncConnection, tenant: UUID, message: UUID) -> Mapping[UUID, str]:
    """The statuses of the parcels that a message announces."""
    chosen = select(parcels.c.id, parcels.c.status).where(
        parcels.c.tenant_id == tenant, parcels.c.message_id == message
    )
    return {row.id: row.status for row in await connection.execute(chosen)}


_DEPOTS = text("SELECT address, tenant_id FROM owners_of_addresses(:integration, :depots)").bindparams(
    bindparam("depots", type_=ARRAY(Text))
)


async def _owners(connection: AsyncConnection, integration: str, depots: Collection[str]) -> Mapping[str, UUID]:
    rows = await connection.execute(_DEPOTS, {"integration": integration, "depots": list(depots)})
    return {row.address: row.tenant_id for row in rows}


async def _lock(connection: AsyncConnection, tenant: UUID, ids: Sequence[UUID]) -> None:
    chosen = select(parcels.c.id).where(parcels.c.tenant_id == tenant, parcels.c.id.in_(list(ids)))
    await connection.execute(chosen.order_by(parcels.c.id).with_for_update())


async def _requeue(order: SubjectOrder) -> Requeued:
    for one in order.ids:
        await move(order.connection, order.tenant_id, one, "WAITING")
    keys = [(order.tenant_id, one) for one in order.ids]
    await close_for_subjects(order.connection, SHIP, keys, Resolution.REQUEUED)
    changes = [Change(order.tenant_id, one, PARCEL) for one in order.ids]
    return Requeued(dict.fromkeys(order.ids), partial(order.installation.hub.publish, changes))


async def _titles(_connection: AsyncConnection, _tenant: UUID, ids: Collection[UUID]) -> Mapping[UUID, str]:
    return dict.fromkeys(ids, "A parcel")


async def _variables(installation: Installation, tenant: UUID, id: UUID) -> Mapping[str, str]:
    async with installation.database.transaction(tenant) as connection:
        chosen = select(parcels.c.status).where(parcels.c.tenant_id == tenant, parcels.c.id == id)
        return {"status": (await connection.execute(chosen)).scalar_one()}


@dataclass(frozen=True, slots=True, weakref_slot=True, eq=False, kw_only=True)
class ParcelChange(FeedChange):
    """A parcel reached a status."""

    parcel_id: UUID
    status: str


async def _changes(
    _connection: AsyncConnection, _tenant: UUID, rows: Sequence[Row[Any]], cursors: Sequence[Cursor], _opening: bool
) -> Sequence[ParcelChange]:
    return [
        ParcelChange(
            transaction=int(row.transaction_id),
            sequence=row.sequence,
            cursor=cursor,
            parcel_id=row.parcel_id,
            status=row.status,
        )
        for row, cursor in zip(rows, cursors, strict=True)
    ]


def _plan_work(context: WorkerContext) -> WorkerPlan:
    return WorkerPlan([Loop("ship parcels", partial(_ship, context.installation))])


async def _ship(installation: Installation) -> None:
    """Ship what waits; a parcel without a recipient fails for good."""
    async with installation.database.transaction() as connection:
        chosen = select(parcels).where(parcels.c.status == "WAITING").with_for_update(skip_locked=True)
        rows = (await connection.execute(chosen)).all()
        for row in rows:
            has_recipient = row.recipient_sealed is not None
            await move(connection, row.tenant_id, row.id, "SHIPPED" if has_recipient else "FAILED")
            if not has_recipient:
                subject = SubjectKey(PARCEL, row.id)
                await add_dead_letters(
                    connection, [NewDeadLetter(row.tenant_id, SHIP, "It has no recipient.", 1, subject=subject)]
                )
    await installation.hub.publish([Change(row.tenant_id, row.id, PARCEL) for row in rows])
    await asyncio.sleep(0.1)


async def _erase(step: PersonStep) -> Erased:
    chosen = select(parcels.c.id).where(
        parcels.c.tenant_id == step.tenant_id,
        parcels.c.recipient_hash.in_(step.person.hashes(step.sealer, step.tenant_id)),
    )
    ids = list((await step.connection.execute(chosen.limit(step.limit))).scalars())
    keys = [(step.tenant_id, one) for one in ids]
    await step.connection.execute(
        update(parcels)
        .where(tuple_(parcels.c.tenant_id, parcels.c.id).in_(keys))
        .values(recipient_sealed=None, recipient_hash=None)
    )
    return Erased([SubjectKey(PARCEL, one) for one in ids], has_more=len(ids) == step.limit)


async def _export(step: PersonStep, after: UUID | None) -> Sequence[Mapping[str, Any]]:
    hashes = step.person.hashes(step.sealer, step.tenant_id)
    chosen = select(parcels.c.id, parcels.c.status).where(
        parcels.c.tenant_id == step.tenant_id, parcels.c.recipient_hash.in_(hashes)
    )
    if after is not None:
        chosen = chosen.where(parcels.c.id > after)
    rows = await step.connection.execute(chosen.order_by(parcels.c.id).limit(step.limit))
    return [{"type": PARCEL, "id": str(row.id), "status": row.status} for row in rows]


NOUN = Noun(
    "parcels",
    events=(EventType("parcel", ParcelMoved, _encode, _decode, _apply, _address_of),),
    owners=(Owner("depot", _owners),),
    resources=(TenantResource("depot", "Depot"),),
    subjects=(Subject(PARCEL, SHIP, _lock, _requeue, _titles, _variables),),
    changes=(ChangeKind(PARCEL, lambda _installation: EventLog(parcel_events, "parcel_id", _changes)),),
    worker=_plan_work,
    counters=(Counter("parcels.status", "Parcels by status", parcel_events, labels=("status",)),),
    personal_data=PersonalData(erase=_erase, export=_export),
)
