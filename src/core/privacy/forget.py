"""Taking personal data out of rows, in the caller's transaction: what happened and when stays, who and what goes."""

from collections.abc import Collection, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Row, Text, bindparam, case, cast, func, or_, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from core.messages.provider_ids import open_id_or_none
from core.messages.record import MessageKey
from core.messages.status import ProviderId
from core.messages.tables import attempts, messages
from core.privacy.disguise import disguised
from core.privacy.spelling import names_somebody, spells_a_number
from core.sealing import Sealer
from core.webhooks.tables import inbox

NOBODY = "••••"
"""What is shown of an address that is no longer kept."""

_SINCE = func.coalesce(messages.c.erased_at, func.now())


async def forget_content(connection: AsyncConnection, keys: Collection[MessageKey]) -> None:
    """Take out what messages say."""
    await connection.execute(
        update(messages)
        .where(tuple_(messages.c.tenant_id, messages.c.id).in_(keys))
        .values(content_sealed=None, erased_at=_SINCE)
    )


async def forget_addresses(connection: AsyncConnection, sealer: Sealer, keys: Collection[MessageKey]) -> None:
    """Take out who messages went to and came from, and whatever names them: nothing is sent for them any more."""
    await connection.execute(
        update(messages)
        .where(tuple_(messages.c.tenant_id, messages.c.id).in_(keys))
        .values(
            to_sealed=None,
            to_hash=None,
            to_masked=NOBODY,
            from_sealed=None,
            from_hash=None,
            from_masked=case((messages.c.from_masked.is_not(None), NOBODY)),
            due_at=None,
            step_until=None,
            erased_at=_SINCE,
        )
    )
    await _disguise_ids(connection, sealer, keys)
    await _forget_request_ids(connection, keys)


async def _forget_request_ids(connection: AsyncConnection, keys: Collection[MessageKey]) -> None:
    """Take out ids of requests that look like an address: the version before kept whatever a caller sent."""
    request_id = messages.c.made_by["requestId"].astext
    rows = await connection.execute(
        select(messages.c.tenant_id, messages.c.id, request_id.label("given")).where(
            tuple_(messages.c.tenant_id, messages.c.id).in_(keys), request_id.is_not(None)
        )
    )
    if telling := [(row.tenant_id, row.id) for row in rows if names_somebody(row.given)]:
        await connection.execute(
            update(messages)
            .where(tuple_(messages.c.tenant_id, messages.c.id).in_(telling))
            .values(made_by=messages.c.made_by.op("-")(cast("requestId", Text)))
        )


async def _disguise_ids(connection: AsyncConnection, sealer: Sealer, keys: Collection[MessageKey]) -> None:
    rows = await connection.execute(
        select(messages).where(tuple_(messages.c.tenant_id, messages.c.id).in_(keys), _keeps_an_id(messages.c))
    )
    if renamed := [_left_of(sealer, row, row.id) for row in rows]:
        await connection.execute(_RENAME_MESSAGE, renamed)
    tried = await connection.execute(
        select(attempts).where(
            tuple_(attempts.c.tenant_id, attempts.c.message_id).in_(keys),
            or_(_keeps_an_id(attempts.c), attempts.c.answer.is_not(None)),
        )
    )
    if changed := [_left_of_attempt(sealer, row) for row in tried]:
        await connection.execute(_RENAME_ATTEMPT, changed)


def _keeps_an_id(columns: Any) -> ColumnElement[bool]:
    return or_(columns.provider_id_sealed.is_not(None), columns.provider_message_id.is_not(None))


def _left_of(sealer: Sealer, row: Row[Any], message: UUID, number: int | None = None) -> dict[str, Any]:
    """What a row keeps of a provider's id: all of one that spells no number, of another the hash that finds it.

    One that cannot be opened may spell a number, and goes.
    """
    place = {"of_tenant": row.tenant_id, "of_message": message}
    kept = ProviderId.of_row(row)
    id = open_id_or_none(sealer, kept, row.tenant_id, message, number)
    if id is not None and not spells_a_number(id):
        return place | {"sealed": row.provider_id_sealed, "clear": row.provider_message_id}
    # Processes of the version before find it by this hash, as late reports about it are to find it.
    return place | {"sealed": None, "clear": row.provider_message_id and disguised(sealer, row.provider_message_id)}


def _left_of_attempt(sealer: Sealer, row: Row[Any]) -> dict[str, Any]:
    answer = None if row.answer is None or spells_a_number(row.answer) else row.answer
    return _left_of(sealer, row, row.message_id, row.number) | {"of_number": row.number, "kept": answer}


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


async def forget_webhooks(connection: AsyncConnection, sealer: Sealer, rows: Sequence[Any]) -> None:
    """Take out what companies sent, of rows of the inbox with tenant, id and dedupe key; told again, it is known."""
    if rows:
        named = [
            {"of_tenant": row.tenant_id, "of_id": row.id, "name": disguised(sealer, row.dedupe_key)} for row in rows
        ]
        await connection.execute(_FORGET_WEBHOOK, named)


_FORGET_WEBHOOK = (
    update(inbox)
    .where(
        inbox.c.tenant_id == bindparam("of_tenant"),
        inbox.c.id == bindparam("of_id"),
        # Somebody may have asked meanwhile for it to be processed again.
        inbox.c.status != "RECEIVED",
    )
    .values(event_sealed=None, raw_sealed=None, dedupe_key=bindparam("name"), erased_at=func.now())
)


async def webhooks_about(connection: AsyncConnection, keys: Collection[MessageKey]) -> Sequence[Any]:
    """The webhooks that speak of messages and have been dealt with, as far as they are still kept."""
    rows = await connection.execute(
        select(inbox.c.tenant_id, inbox.c.id, inbox.c.dedupe_key)
        .where(
            tuple_(inbox.c.tenant_id, inbox.c.message_id).in_(keys),
            inbox.c.status != "RECEIVED",
            or_(inbox.c.event_sealed.is_not(None), inbox.c.raw_sealed.is_not(None)),
        )
        .order_by(inbox.c.tenant_id, inbox.c.id)
        .with_for_update()
    )
    return rows.all()
