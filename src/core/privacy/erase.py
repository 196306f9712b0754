"""Erasing a person: the request, its progress, and the steps that a worker carries out.

Each step is one transaction that records the progress. First the person's messages are stopped and lose content and
addresses; then names that contain the address, and allow lists; then the inbox, where each webhook is opened and
searched. A message that is being sent is waited for. The person's address is deleted when the erasure is finished.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import (
    ARRAY,
    Column,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    Row,
    Table,
    Uuid,
    and_,
    bindparam,
    func,
    literal,
    or_,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from core.addresses import lookup_form
from core.audit.act import Act, Author
from core.database import Database, metadata
from core.ids import uuid7
from core.inbox.closing import forget_webhooks
from core.messages.record import EventRecord, MessageKey, lock_states, write_transitions
from core.messages.state_machine import erased
from core.messages.status import Direction, EventSource, MessageStatus
from core.messages.tables import messages
from core.person import Person
from core.ports.identity import ActorKind
from core.privacy.forget import (
    forget_addresses,
    forget_content,
    forget_names,
    remove_from_allow_lists,
    search_inbox,
    webhooks_of_messages,
)
from core.pubsub import Change, Hub
from core.sealing import SealBroken, Sealer, is_readable

_OPEN = text("finished_at IS NULL")

erasures = Table(
    "erasures",
    metadata,
    Column("tenant_id", Uuid, ForeignKey("tenants.id"), nullable=False),
    Column("id", Uuid, nullable=False),
    # Both null once it is finished.
    Column("recipient_sealed", LargeBinary),
    Column("recipient_hash", LargeBinary),
    # The last webhook that was searched; the next step begins after it.
    Column("inbox_after", Uuid),
    Column("messages", Integer, nullable=False, server_default="0"),
    Column("canceled", Integer, nullable=False, server_default="0"),
    Column("webhooks", Integer, nullable=False, server_default="0"),
    # External ids, idempotency keys and names that contained the address.
    Column("names", Integer, nullable=False, server_default="0"),
    Column("due_at", DateTime(timezone=True), server_default=func.now()),
    Column("requested_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("finished_at", DateTime(timezone=True)),
    PrimaryKeyConstraint("tenant_id", "id"),
    Index("uq_erasures_open", "tenant_id", "recipient_hash", unique=True, postgresql_where=_OPEN),
    Index("ix_erasures_due", "due_at", postgresql_where=_OPEN),
)


log = structlog.get_logger(__name__)

RECIPIENT = "recipient"
BATCH = 200
ACTION, SYSTEM = "eraseRecipient", "interalpha"
"""The action and the actor in the audit log."""
_SOON, _LATER = text("now() + interval '3 seconds'"), text("now() + interval '1 hour'")
_READABLE = text(is_readable("erasures.recipient_sealed")).bindparams(bindparam("keys", type_=ARRAY(LargeBinary)))


@dataclass(frozen=True, slots=True)
class Erasure:
    """An erasure: how much it has erased so far, and whether it is finished; it does not hold the person."""

    id: UUID
    messages: int
    canceled: int
    webhooks: int
    names: int
    requested_at: datetime
    finished_at: datetime | None


async def request_erasure(connection: AsyncConnection, sealer: Sealer, tenant: UUID, person: Person) -> UUID:
    """Request the erasure of a person; while it is not finished, a second request returns the same erasure."""
    row, hashes = uuid7(), sealer.lookup_hashes(lookup_form(person.address), tenant=tenant)
    open_one = select(erasures.c.id).where(
        erasures.c.tenant_id == tenant, erasures.c.recipient_hash.in_(hashes), erasures.c.finished_at.is_(None)
    )
    earlier: UUID | None = (await connection.execute(open_one.limit(1))).scalar()
    if earlier is not None:
        return earlier
    made: UUID | None = (
        await connection.execute(
            insert(erasures)
            .values(
                tenant_id=tenant,
                id=row,
                recipient_sealed=sealer.seal(person.address, tenant=tenant, row=row, column=RECIPIENT),
                recipient_hash=hashes[0],
            )
            .on_conflict_do_nothing()
            .returning(erasures.c.id)
        )
    ).scalar()
    # Another request was made at the same moment: it is committed by now, since the insert waited for it.
    return made or (await connection.execute(open_one.limit(1))).scalar_one()


async def erasures_by_id(connection: AsyncConnection, tenant: UUID, ids: Collection[UUID]) -> dict[UUID, Erasure]:
    """Read erasures by their ids; those the tenant does not have are left out."""
    chosen = select(erasures).where(erasures.c.tenant_id == tenant, erasures.c.id.in_(list(ids)))
    return {
        row.id: Erasure(row.id, row.messages, row.canceled, row.webhooks, row.names, row.requested_at, row.finished_at)
        for row in await connection.execute(chosen)
    }


@dataclass(slots=True)
class _Done:
    """What one step did; `is_over` when nothing is left to erase."""

    messages: int = 0
    canceled: int = 0
    webhooks: int = 0
    names: int = 0
    waits: bool = False
    inbox_after: UUID | None = None
    is_over: bool = False


async def run_erasure_step(database: Database, sealer: Sealer, hub: Hub, *, batch: int = BATCH) -> bool:
    """Do one step of an erasure that is due; returns False when none is."""
    async with database.transaction() as connection:
        row = (
            await connection.execute(
                select(erasures)
                .where(
                    erasures.c.finished_at.is_(None),
                    erasures.c.due_at <= func.now(),
                    # An erasure whose key is missing here waits for a worker that has it.
                    _READABLE.bindparams(keys=sealer.encoded_names),
                )
                .order_by(erasures.c.due_at)
                .limit(1)
                .with_for_update(skip_locked=True)
            )
        ).one_or_none()
        if row is None:
            return False
        try:
            address = sealer.open(row.recipient_sealed, tenant=row.tenant_id, row=row.id, column=RECIPIENT)
        except SealBroken:
            log.error("erasure_unreadable", erasure_id=str(row.id), advice="is its key still among ENCRYPTION_KEYS?")
            await connection.execute(_of(row).values(due_at=_LATER))
            return True
        done, changes = await _step(connection, sealer, row, Person.of(address), batch)
        await _note(connection, row, done)
    await hub.publish(changes)
    return True


async def _step(
    connection: AsyncConnection, sealer: Sealer, row: Row[Any], person: Person, batch: int
) -> tuple[_Done, list[Change]]:
    keys, waits = await _messages_of(connection, sealer, row.tenant_id, person, batch)
    if keys:
        return await _erase_messages(connection, sealer, keys)
    done = _Done(waits=waits)
    if row.inbox_after is None:
        done.names = await forget_names(connection, row.tenant_id, person)
        done.names += await remove_from_allow_lists(connection, sealer, row.tenant_id, person)
    found = await search_inbox(connection, sealer, row.tenant_id, person, row.inbox_after, batch)
    await forget_webhooks(connection, sealer, found.to_forget)
    done.webhooks, done.inbox_after = len(found.to_forget), found.reached
    done.waits = done.waits or found.waits
    done.is_over = found.is_end and not done.waits
    return done, []


async def _messages_of(
    connection: AsyncConnection, sealer: Sealer, tenant: UUID, person: Person, batch: int
) -> tuple[list[MessageKey], bool]:
    """The next messages to or from the person, and whether some are being sent."""
    hashes = person.hashes(sealer, tenant)
    theirs = or_(
        and_(messages.c.direction == Direction.OUTBOUND.value, messages.c.to_hash.in_(hashes)),
        and_(messages.c.direction == Direction.INBOUND.value, messages.c.from_hash.in_(hashes)),
    )
    # A worker that has claimed a message and not begun it may find it gone; one that has begun ends in a moment.
    has_begun = messages.c.status == MessageStatus.SENDING.value
    is_asked_about = and_(messages.c.status == MessageStatus.UNCONFIRMED.value, messages.c.lease_until.is_not(None))
    chosen = select(messages.c.id, or_(has_begun, is_asked_about).label("is_busy")).where(
        messages.c.tenant_id == tenant, theirs
    )
    rows = (await connection.execute(chosen.order_by(text("is_busy"), messages.c.id).limit(batch))).all()
    return [MessageKey(tenant, one.id) for one in rows if not one.is_busy], any(one.is_busy for one in rows)


async def _erase_messages(
    connection: AsyncConnection, sealer: Sealer, keys: list[MessageKey]
) -> tuple[_Done, list[Change]]:
    states = await lock_states(connection, keys)
    # A worker may have begun to send one before it was locked here.
    quiet = {key: one for key, one in states.items() if one.status is not MessageStatus.SENDING}
    records = [
        EventRecord(key, state, transition, EventSource.OPERATOR, detail="everything about its recipient is erased")
        for key, state in quiet.items()
        if (transition := erased(state)) is not None
    ]
    changes = await write_transitions(connection, records) if records else []
    if quiet:
        about = await webhooks_of_messages(connection, list(quiet))
        await forget_content(connection, list(quiet))
        await forget_addresses(connection, sealer, list(quiet))
        await forget_webhooks(connection, sealer, about)
        return _Done(len(quiet), len(records), len(about)), changes
    return _Done(waits=True), changes


async def _note(connection: AsyncConnection, row: Row[Any], done: _Done) -> None:
    """Record the progress; once the erasure is finished, delete the person's address too."""
    counted = {name: erasures.c[name] + getattr(done, name) for name in ("messages", "canceled", "webhooks", "names")}
    changes: dict[str, Any] = dict(counted)
    if done.inbox_after is not None:
        changes["inbox_after"] = done.inbox_after
    if done.waits:
        changes["due_at"] = _SOON
    if done.is_over:
        changes |= {"finished_at": func.now(), "recipient_sealed": None, "recipient_hash": None, "due_at": None}
        act = Act(row.tenant_id, Author(SYSTEM, ActorKind.SYSTEM, ACTION))
        await act.done(connection, "Erasure", [row.id])
    await connection.execute(_of(row).values(**changes))


def _of(row: Row[Any]) -> Any:
    return update(erasures).where(erasures.c.tenant_id == literal(row.tenant_id), erasures.c.id == literal(row.id))
