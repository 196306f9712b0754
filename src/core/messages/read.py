"""Reading messages: by id, by page, with their attempts and events. One statement each, sealed columns only if asked.

Ids are UUIDs of version 7: the order of ids is the order of time, and the cursor of a page is an id.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

import structlog
from sqlalchemy import ColumnElement, Row, Select, func, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from core.messages.content import content_from_json, filled_from_json
from core.messages.failures import failure_from_json
from core.messages.route import Step, route_from_json
from core.messages.tables import external_ids, messages
from core.messages.values import Direction, MessageStatus, told_status
from core.ports import Channel, Content, Failure
from core.sealing import SealBroken, Sealer
from core.slicing import Slice, Span, read_slice, storable, within
from core.templates.values import Filled

log = structlog.get_logger(__name__)

Part = TypeVar("Part")

SEALED = {"content": "content_sealed", "to": "to_sealed", "from": "from_sealed"}
"""What can be asked for beside the plain columns."""

_PLAIN = [column for column in messages.columns if not column.name.endswith(("_sealed", "_hash", "_by"))]


@dataclass(frozen=True, slots=True)
class Message:
    """A message as it stands; `content`, `to` and `sender` are None unless they were asked for and are kept.

    `filled` comes with the content of a message that was made of a template.
    """

    id: UUID
    direction: Direction
    status: MessageStatus
    channel: Channel
    route: Sequence[Step]
    step: int
    to_masked: str
    failure: Failure | None
    send_at: datetime | None
    next_attempt_at: datetime | None
    expires_at: datetime | None
    external_id: str | None
    batch_id: UUID | None
    created_at: datetime
    updated_at: datetime
    sent_at: datetime | None
    delivered_at: datetime | None
    read_at: datetime | None
    next_look_at: datetime | None = None
    template_id: UUID | None = None
    content: Content | None = None
    filled: Filled | None = None
    to: str | None = None
    sender: str | None = None
    from_masked: str | None = None
    in_reply_to: UUID | None = None
    erased_at: datetime | None = None
    unreadable: Mapping[str, str | None] = field(default_factory=dict)
    """The parts asked for that are kept and cannot be opened here: each with the key that is missing, if one is."""


@dataclass(frozen=True, slots=True)
class Filter:
    """All given conditions must hold; a list holds when any of its values does. `created_before` is not in it."""

    channels: Sequence[Channel] | None = None
    statuses: Sequence[MessageStatus] | None = None
    direction: Direction | None = None
    created_from: datetime | None = None
    created_before: datetime | None = None
    batches: Sequence[UUID] | None = None
    to_hashes: Sequence[bytes] | None = None
    """Look-up hashes of the addresses it may have gone to, as `Person.hashes` makes them."""
    from_hashes: Sequence[bytes] | None = None
    external_id: str | None = None

    def within(self, batch_id: UUID) -> "Filter":
        """The same, of one batch alone."""
        is_ruled_out = self.batches is not None and batch_id not in self.batches
        return replace(self, batches=[] if is_ruled_out else [batch_id])


@dataclass(frozen=True, slots=True)
class Page:
    """Items newest first; `has_more` lies in the direction that was read."""

    items: Sequence[Message]
    has_more: bool


async def by_ids(
    connection: AsyncConnection, sealer: Sealer, tenant: UUID, ids: Collection[UUID], *, sealed: Collection[str] = ()
) -> dict[UUID, Message]:
    """Read messages of a tenant by id; those it does not have are left out."""
    rows = await connection.execute(_select(sealed).where(messages.c.tenant_id == tenant, messages.c.id.in_(ids)))
    return {row.id: _message(row, sealer, tenant) for row in rows}


async def known(connection: AsyncConnection, tenant: UUID, ids: Collection[UUID]) -> set[UUID]:
    """Which of these ids name messages of a tenant."""
    rows = await connection.execute(select(messages.c.id).where(messages.c.tenant_id == tenant, messages.c.id.in_(ids)))
    return set(rows.scalars())


async def page(
    connection: AsyncConnection,
    sealer: Sealer,
    tenant: UUID,
    which: Slice,
    condition: Filter,
    *,
    sealed: Collection[str] = (),
) -> Page:
    """Read one page of a tenant's messages, newest first."""
    statement = _filtered(_select(sealed), tenant, condition)
    rows, has_more = await read_slice(connection, statement, messages.c.id, which)
    return Page([_message(row, sealer, tenant) for row in rows], has_more)


async def count(connection: AsyncConnection, tenant: UUID, condition: Filter) -> int:
    """Count a tenant's messages that fit."""
    statement = _filtered(select(func.count()).select_from(messages), tenant, condition)
    found: int = (await connection.execute(statement)).scalar_one()
    return found


def _select(sealed: Collection[str]) -> Select[Any]:
    return select(*_PLAIN, *(messages.c[SEALED[name]] for name in sealed))


def _filtered(statement: Select[Any], tenant: UUID, condition: Filter) -> Select[Any]:
    statement = statement.where(messages.c.tenant_id == tenant)
    if condition.channels is not None:
        statement = statement.where(messages.c.channel.in_({channel.value for channel in condition.channels}))
    if condition.statuses is not None:
        statement = statement.where(_stands(condition.statuses))
    if condition.direction is not None:
        statement = statement.where(messages.c.direction == condition.direction.value)
    if condition.batches is not None:
        statement = statement.where(messages.c.batch_id.in_(condition.batches))
    if condition.to_hashes is not None:
        statement = statement.where(messages.c.to_hash.in_(condition.to_hashes))
    if condition.from_hashes is not None:
        statement = statement.where(messages.c.from_hash.in_(condition.from_hashes))
    if condition.external_id is not None:
        named = select(external_ids.c.message_id).where(
            external_ids.c.tenant_id == tenant, external_ids.c.external_id.in_(storable([condition.external_id]))
        )
        statement = statement.where(messages.c.id.in_(named))
    span = Span(condition.created_from, condition.created_before)
    return within(statement, span, messages.c.created_at, messages.c.id)


def _stands(statuses: Collection[MessageStatus]) -> ColumnElement[bool]:
    sent = {status.value for status in statuses if status is not MessageStatus.RECEIVED}
    stands = messages.c.status.in_(sent) & (messages.c.direction == Direction.OUTBOUND.value)
    if MessageStatus.RECEIVED not in statuses:
        return stands
    # As `told_status` tells it.
    came_in = messages.c.status.in_([MessageStatus.DELIVERED.value, MessageStatus.RECEIVED.value])
    return or_(stands, came_in & (messages.c.direction == Direction.INBOUND.value))


@dataclass(frozen=True, slots=True)
class _Opener:
    """Opens the sealed parts of one row, and notes those that cannot be opened: the page goes on without them."""

    row: Row[Any]
    sealer: Sealer
    tenant: UUID
    unreadable: dict[str, str | None] = field(default_factory=dict)

    def open(self, name: str, read: Callable[[str], Part]) -> Part | None:
        sealed: bytes | None = getattr(self.row, SEALED[name], None)
        if sealed is None:
            return None
        try:
            return read(self.sealer.open(sealed, tenant=self.tenant, row=self.row.id, column=name))
        except Exception as error:  # noqa: BLE001  # a missing key, an altered row, a later version's
            self.unreadable[name] = self.sealer.missing_key(sealed)
            reason = str(error) if isinstance(error, SealBroken) else type(error).__name__
            log.warning("message_unreadable", message_id=str(self.row.id), reason=reason)
            return None


def _message(row: Row[Any], sealer: Sealer, tenant: UUID) -> Message:
    parts = _Opener(row, sealer, tenant)
    content = parts.open("content", lambda text: (content_from_json(text), filled_from_json(text)))
    return Message(
        id=row.id,
        direction=Direction(row.direction),
        status=told_status(MessageStatus(row.status), Direction(row.direction)),
        channel=Channel(row.channel),
        route=route_from_json(row.route),
        step=row.step,
        to_masked=row.to_masked,
        failure=failure_from_json(row.failure),
        send_at=row.send_at,
        # Other states are looked at again, too, but no attempt follows from that by itself.
        next_attempt_at=row.due_at if row.status == MessageStatus.QUEUED else None,
        next_look_at=row.due_at if row.status == MessageStatus.UNCONFIRMED else None,
        expires_at=row.expires_at,
        external_id=row.external_id,
        batch_id=row.batch_id,
        created_at=row.created_at,
        updated_at=row.updated_at,
        sent_at=row.sent_at,
        delivered_at=row.delivered_at,
        read_at=row.read_at,
        template_id=row.template_id,
        filled=None if content is None else content[1],
        content=None if content is None else content[0],
        to=parts.open("to", str),
        sender=parts.open("from", str),
        from_masked=row.from_masked,
        in_reply_to=row.in_reply_to,
        erased_at=row.erased_at,
        unreadable=parts.unreadable,
    )
