"""Personal data in messages: how it is erased, deleted by age, and exported. Content and addresses go, the rest stays.

Of a person's messages those that wait are canceled, and one that is being sent is waited for. Statuses, times, attempts
and events stay.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Row, Text, and_, bindparam, case, cast, func, or_, select, text, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from core.masking import contains_address, encodes_phone_number, pseudonym
from core.messages.provider_ids import open_id_or_none
from core.messages.queries import Message, messages_by_id
from core.messages.record import EventRecord, MessageKey, lock_states, write_transitions
from core.messages.state_machine import erased
from core.messages.status import Direction, EventSource, MessageStatus, ProviderId
from core.messages.tables import attempts, external_ids, message_batches, messages
from core.nouns import (
    DataKind,
    Erased,
    Expired,
    ExpiryStep,
    Forgotten,
    PersonalData,
    PersonStep,
    SealedWork,
    SubjectKey,
)
from core.person import erased_name, find_names
from core.ports.sending import MESSAGE
from core.sealing import Sealer

ERASED_ADDRESS = "••••"
"""The masked form of an address that is no longer stored."""

_AT_REST = (
    MessageStatus.SENT,
    MessageStatus.DELIVERED,
    MessageStatus.READ,
    MessageStatus.FAILED,
    MessageStatus.CANCELED,
)
_SINCE = func.coalesce(messages.c.erased_at, func.now())

# ─── Erasing a person ─────────────────────────────────────────────────────


async def _erase(step: PersonStep) -> Erased:
    """Stop and erase the next messages to or from the person."""
    keys, waits = await _messages_of(step)
    return await _erase_messages(step, keys) if keys else Erased(waits=waits)


async def _messages_of(step: PersonStep) -> tuple[list[MessageKey], bool]:
    """The next messages to or from the person, and whether some are being sent."""
    # A worker that has claimed a message and not begun it may find it gone; one that has begun ends in a moment.
    has_begun = messages.c.status == MessageStatus.SENDING.value
    is_asked_about = and_(messages.c.status == MessageStatus.UNCONFIRMED.value, messages.c.lease_until.is_not(None))
    chosen = select(messages.c.id, or_(has_begun, is_asked_about).label("is_busy")).where(_theirs(step))
    rows = (await step.connection.execute(chosen.order_by(text("is_busy"), messages.c.id).limit(step.limit))).all()
    return [MessageKey(step.tenant_id, one.id) for one in rows if not one.is_busy], any(one.is_busy for one in rows)


def _theirs(step: PersonStep) -> ColumnElement[bool]:
    """Whether a message is to or from the person."""
    hashes = step.person.hashes(step.sealer, step.tenant_id)
    return and_(
        messages.c.tenant_id == step.tenant_id,
        or_(
            and_(messages.c.direction == Direction.OUTBOUND.value, messages.c.to_hash.in_(hashes)),
            and_(messages.c.direction == Direction.INBOUND.value, messages.c.from_hash.in_(hashes)),
        ),
    )


async def _erase_messages(step: PersonStep, keys: list[MessageKey]) -> Erased:
    states = await lock_states(step.connection, keys)
    # A worker may have begun to send one before it was locked here.
    quiet = {key: one for key, one in states.items() if one.status is not MessageStatus.SENDING}
    records = [
        EventRecord(key, state, transition, EventSource.OPERATOR, detail="everything about its recipient is erased")
        for key, state in quiet.items()
        if (transition := erased(state)) is not None
    ]
    changes = await write_transitions(step.connection, records) if records else []
    if quiet:
        await _forget_content(step.connection, list(quiet))
        await _forget_addresses(step.connection, step.sealer, list(quiet))
    return Erased(
        [SubjectKey(MESSAGE, key.message_id) for key in quiet],
        canceled=len(records),
        has_more=True,
        waits=not quiet,
        changes=changes,
    )


async def _erase_names(step: PersonStep) -> int:
    """Remove the person's address from external ids and names of batches.

    An external id is replaced by its message's own id in both of its tables.
    """
    erased_names = 0
    ids, batches, person = external_ids.c, message_batches.c, step.person
    async for page in find_names(step.connection, ids.external_id, ids.external_id, step.tenant_id, person):
        rows = await step.connection.execute(
            update(external_ids)
            .where(ids.tenant_id == step.tenant_id, ids.external_id.in_(page))
            .values(external_id=erased_name(ids.message_id))
            .returning(ids.message_id)
        )
        found = list(rows.scalars())
        await step.connection.execute(
            update(messages)
            .where(messages.c.tenant_id == step.tenant_id, messages.c.id.in_(found))
            .values(external_id=erased_name(messages.c.id))
        )
        erased_names += len(found)
    async for page in find_names(step.connection, batches.name, batches.id, step.tenant_id, person):
        await step.connection.execute(
            update(message_batches).where(batches.tenant_id == step.tenant_id, batches.id.in_(page)).values(name=None)
        )
        erased_names += len(page)
    return erased_names


# ─── Removing content and addresses ───────────────────────────────────────


async def _forget_content(connection: AsyncConnection, keys: Collection[MessageKey]) -> None:
    await connection.execute(
        update(messages)
        .where(tuple_(messages.c.tenant_id, messages.c.id).in_(keys))
        .values(content_sealed=None, erased_at=_SINCE)
    )


async def _forget_addresses(connection: AsyncConnection, sealer: Sealer, keys: Collection[MessageKey]) -> None:
    """Delete the addresses of messages, and ids that contain one; the messages are not sent any more."""
    await connection.execute(
        update(messages)
        .where(tuple_(messages.c.tenant_id, messages.c.id).in_(keys))
        .values(
            to_sealed=None,
            to_hash=None,
            to_masked=ERASED_ADDRESS,
            from_sealed=None,
            from_hash=None,
            from_masked=case((messages.c.from_masked.is_not(None), ERASED_ADDRESS)),
            due_at=None,
            step_until=None,
            erased_at=_SINCE,
        )
    )
    await _pseudonymize_ids(connection, sealer, keys)
    await _forget_request_ids(connection, keys)


async def _forget_request_ids(connection: AsyncConnection, keys: Collection[MessageKey]) -> None:
    """Delete request ids that contain an address: an earlier version stored any that a caller sent."""
    request_id = messages.c.made_by["requestId"].astext
    rows = await connection.execute(
        select(messages.c.tenant_id, messages.c.id, request_id.label("given")).where(
            tuple_(messages.c.tenant_id, messages.c.id).in_(keys), request_id.is_not(None)
        )
    )
    if telling := [(row.tenant_id, row.id) for row in rows if contains_address(row.given)]:
        await connection.execute(
            update(messages)
            .where(tuple_(messages.c.tenant_id, messages.c.id).in_(telling))
            .values(made_by=messages.c.made_by.op("-")(cast("requestId", Text)))
        )


async def _pseudonymize_ids(connection: AsyncConnection, sealer: Sealer, keys: Collection[MessageKey]) -> None:
    rows = await connection.execute(
        select(messages).where(tuple_(messages.c.tenant_id, messages.c.id).in_(keys), _keeps_an_id(messages.c))
    )
    if renamed := [_kept_values(sealer, row, row.id) for row in rows]:
        await connection.execute(_RENAME_MESSAGE, renamed)
    tried = await connection.execute(
        select(attempts).where(
            tuple_(attempts.c.tenant_id, attempts.c.message_id).in_(keys),
            or_(_keeps_an_id(attempts.c), attempts.c.answer.is_not(None)),
        )
    )
    if changed := [_kept_attempt_values(sealer, row) for row in tried]:
        await connection.execute(_RENAME_ATTEMPT, changed)


def _keeps_an_id(columns: Any) -> ColumnElement[bool]:
    return or_(columns.provider_id_sealed.is_not(None), columns.provider_message_id.is_not(None))


def _kept_values(sealer: Sealer, row: Row[Any], message: UUID, number: int | None = None) -> dict[str, Any]:
    """What a row keeps of a provider's id: the id, or its hash where the id contains a telephone number.

    An id that cannot be opened may contain one, and is deleted.
    """
    place = {"of_tenant": row.tenant_id, "of_message": message}
    kept = ProviderId.of_row(row)
    id = open_id_or_none(sealer, kept, row.tenant_id, message, number)
    if id is not None and not encodes_phone_number(id):
        return place | {"sealed": row.provider_id_sealed, "clear": row.provider_message_id}
    # Processes of the earlier version find the row by this hash, for late reports about it.
    return place | {"sealed": None, "clear": row.provider_message_id and pseudonym(sealer, row.provider_message_id)}


def _kept_attempt_values(sealer: Sealer, row: Row[Any]) -> dict[str, Any]:
    answer = None if row.answer is None or encodes_phone_number(row.answer) else row.answer
    return _kept_values(sealer, row, row.message_id, row.number) | {"of_number": row.number, "kept": answer}


_RENAME_MESSAGE = (
    update(messages)
    .where(messages.c.tenant_id == bindparam("of_tenant"), messages.c.id == bindparam("of_message"))
    .values(provider_id_sealed=bindparam("sealed"), provider_message_id=bindparam("clear"))
)
_RENAME_ATTEMPT = (
    update(attempts)
    .where(
        attempts.c.tenant_id == bindparam("of_tenant"),
        attempts.c.message_id == bindparam("of_message"),
        attempts.c.number == bindparam("of_number"),
    )
    .values(provider_id_sealed=bindparam("sealed"), provider_message_id=bindparam("clear"), answer=bindparam("kept"))
)


# ─── Deleting by age ──────────────────────────────────────────────────────


async def _forget_old(kind: DataKind, step: ExpiryStep) -> Forgotten:
    sealed = messages.c.content_sealed if kind is DataKind.CONTENT else messages.c.to_sealed
    rows = await _old_messages(step.connection, sealed.is_not(None), step.age, step.since, step.limit)
    keys = [MessageKey(row.tenant_id, row.id) for row in rows]
    if keys and kind is DataKind.CONTENT:
        await _forget_content(step.connection, keys)
    elif keys:
        await _forget_addresses(step.connection, step.sealer, keys)
    return Forgotten(len(rows), rows[-1].created_at if rows else None)


async def _old_messages(
    connection: AsyncConnection, has_it: ColumnElement[bool], age: timedelta, since: datetime | None, limit: int
) -> Sequence[Any]:
    old = func.now() - age
    statement = (
        select(messages.c.tenant_id, messages.c.id, messages.c.created_at)
        .where(
            has_it,
            messages.c.created_at < old,
            messages.c.updated_at < old,
            messages.c.due_at.is_(None),
            messages.c.lease_until.is_(None),
            messages.c.status.in_([status.value for status in _AT_REST]),
        )
        .order_by(messages.c.created_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    if since is not None:
        statement = statement.where(messages.c.created_at >= since)
    return (await connection.execute(statement)).all()


# ─── Exporting ────────────────────────────────────────────────────────────


async def _export(step: PersonStep, after: UUID | None) -> Sequence[Mapping[str, Any]]:
    chosen = select(messages.c.id).where(_theirs(step))
    if after is not None:
        chosen = chosen.where(messages.c.id > after)
    ids = list((await step.connection.execute(chosen.order_by(messages.c.id).limit(step.limit))).scalars())
    if not ids:
        return []
    sealed = ["content", "to", "from"]
    found = await messages_by_id(step.connection, step.sealer, step.tenant_id, ids, sealed=sealed)
    return [_exported(found[id]) for id in ids]


def _exported(message: Message) -> dict[str, Any]:
    """A message as JSON. What cannot be opened here is null, and named in `unreadable`."""
    return {
        "type": MESSAGE,
        "id": str(message.id),
        "direction": message.direction.value,
        "channel": message.channel.value,
        "status": message.status.value,
        "to": message.to,
        "from": message.sender,
        "content": None if message.content is None else asdict(message.content),
        "variables": None if message.filled is None else dict(message.filled.variables),
        "externalId": message.external_id,
        "unreadable": sorted(message.unreadable),
        **{name: None if at is None else at.isoformat() for name, at in _moments(message).items()},
    }


def _moments(message: Message) -> dict[str, datetime | None]:
    return {
        "createdAt": message.created_at,
        "sendAt": message.send_at,
        "sentAt": message.sent_at,
        "deliveredAt": message.delivered_at,
        "readAt": message.read_at,
        "updatedAt": message.updated_at,
        "erasedAt": message.erased_at,
    }


PERSONAL_DATA = PersonalData(
    erase=_erase,
    erase_names=_erase_names,
    export=_export,
    expired=[Expired(kind, partial(_forget_old, kind)) for kind in (DataKind.CONTENT, DataKind.ADDRESSES)],
    work=[SealedWork(messages.c.to_sealed, "status = 'QUEUED' AND lease_until IS NULL")],
)
