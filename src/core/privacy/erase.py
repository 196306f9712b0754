"""Erasing a person: the request, its progress, and the steps that a worker carries out.

Each step is one transaction that records the progress. First the nouns stop and erase the person's objects, messages
among them, with the webhooks about these; then names and lists that contain the address; then the inbox, where each
webhook is opened and searched. Something that is under way is waited for. The person's address is deleted when the
erasure is finished.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
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
    bindparam,
    delete,
    func,
    literal,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.ext.asyncio import AsyncConnection

from core.addresses import lookup_form
from core.audit.act import Act, Author
from core.database import Database, metadata
from core.idempotency import idempotency_keys
from core.ids import uuid7
from core.inbox.closing import forget_webhooks
from core.nouns import PersonalData, PersonStep, SubjectKey
from core.person import Person, find_names
from core.ports.identity import ActorKind
from core.ports.sending import MESSAGE
from core.privacy.inbox_search import search_inbox, webhooks_about
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
    # How many objects that are not messages, by their kind.
    Column("other_objects", JSONB, nullable=False, server_default=text("'{}'::jsonb")),
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
_AFTER_FAILURE = text("now() + interval '1 minute'")
_READABLE = text(is_readable("erasures.recipient_sealed")).bindparams(bindparam("keys", type_=ARRAY(LargeBinary)))


@dataclass(frozen=True, slots=True)
class Erasure:
    """An erasure: how much it has erased so far, and whether it is finished; it does not hold the person.

    `objects` counts the objects by their kind, `Message` among them.
    """

    id: UUID
    objects: Mapping[str, int]
    canceled: int
    webhooks: int
    names: int
    requested_at: datetime
    finished_at: datetime | None

    @property
    def messages(self) -> int:
        """How many messages were erased."""
        return self.objects[MESSAGE]


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
        row.id: Erasure(
            row.id,
            {**row.other_objects, MESSAGE: row.messages},
            row.canceled,
            row.webhooks,
            row.names,
            row.requested_at,
            row.finished_at,
        )
        for row in await connection.execute(chosen)
    }


@dataclass(slots=True)
class _Done:
    """What one step did; `has_more` when objects are left to erase, `is_over` when nothing is."""

    objects: list[SubjectKey] = field(default_factory=list)
    canceled: int = 0
    webhooks: int = 0
    names: int = 0
    has_more: bool = False
    waits: bool = False
    inbox_after: UUID | None = None
    is_over: bool = False
    changes: list[Change] = field(default_factory=list)


async def run_erasure_step(
    database: Database, sealer: Sealer, hub: Hub, nouns: Sequence[PersonalData], *, batch: int = BATCH
) -> bool:
    """Do one step of an erasure that is due; returns False when none is.

    A step that fails is undone, and is tried again after a pause; other erasures go on meanwhile.
    """
    row: Row[Any] | None = None
    try:
        async with database.transaction() as connection:
            row = await _lock_due_erasure(connection, sealer)
            if row is None:
                return False
            person = _open_person(sealer, row)
            if person is None:
                await connection.execute(_of(row).values(due_at=_LATER))
                return True
            done = await _step(PersonStep(connection, sealer, row.tenant_id, person, batch), nouns, row.inbox_after)
            await _note(connection, row, done)
    except Exception:
        if row is None:
            raise
        log.exception("erasure_step_failed", erasure_id=str(row.id), advice="it is tried again in a minute")
        async with database.transaction() as connection:
            # If the answer to COMMIT was lost, the step may have finished the erasure.
            await connection.execute(_of(row).where(erasures.c.finished_at.is_(None)).values(due_at=_AFTER_FAILURE))
        return True
    await hub.publish(done.changes)
    return True


async def _lock_due_erasure(connection: AsyncConnection, sealer: Sealer) -> Row[Any] | None:
    chosen = (
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
    return (await connection.execute(chosen)).one_or_none()


def _open_person(sealer: Sealer, row: Row[Any]) -> Person | None:
    try:
        address = sealer.open(row.recipient_sealed, tenant=row.tenant_id, row=row.id, column=RECIPIENT)
    except SealBroken:
        log.error("erasure_unreadable", erasure_id=str(row.id), advice="is its key still among ENCRYPTION_KEYS?")
        return None
    return Person.of(address)


async def _step(step: PersonStep, nouns: Sequence[PersonalData], inbox_after: UUID | None) -> _Done:
    done = await _erase_objects(step, nouns)
    if done.has_more:
        return done
    if inbox_after is None:
        done.names = sum([await noun.erase_names(step) for noun in nouns]) + await _delete_idempotency_keys(step)
    found = await search_inbox(step, inbox_after)
    await forget_webhooks(step.connection, step.sealer, found.to_forget)
    done.webhooks += len(found.to_forget)
    done.inbox_after = found.reached
    done.waits = done.waits or found.waits
    done.is_over = found.is_end and not done.waits
    return done


async def _erase_objects(step: PersonStep, nouns: Sequence[PersonalData]) -> _Done:
    """Let one noun after the other erase objects, until one has more, and erase the webhooks about these objects."""
    done = _Done()
    for noun in nouns:
        part = await noun.erase(step)
        done.objects += part.objects
        done.canceled += part.canceled
        done.waits = done.waits or part.waits
        done.changes += part.changes
        if part.has_more:
            done.has_more = True
            break
    about = await webhooks_about(step.connection, step.tenant_id, done.objects)
    await forget_webhooks(step.connection, step.sealer, about)
    done.webhooks = len(about)
    return done


async def _delete_idempotency_keys(step: PersonStep) -> int:
    """Delete the keys that contain the person's address; returns how many. Their requests are canceled or done."""
    deleted, keys = 0, idempotency_keys.c
    async for page in find_names(step.connection, keys.key, keys.key, step.tenant_id, step.person):
        chosen = delete(idempotency_keys).where(keys.tenant_id == step.tenant_id, keys.key.in_(page))
        deleted += (await step.connection.execute(chosen)).rowcount
    return deleted


async def _note(connection: AsyncConnection, row: Row[Any], done: _Done) -> None:
    """Record the progress; once the erasure is finished, delete the person's address too."""
    kinds = Counter(one.kind for one in done.objects)
    changes: dict[str, Any] = {
        "messages": erasures.c.messages + kinds.pop(MESSAGE, 0),
        **{name: erasures.c[name] + getattr(done, name) for name in ("canceled", "webhooks", "names")},
    }
    if kinds:
        changes["other_objects"] = dict(Counter(row.other_objects) + kinds)
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
