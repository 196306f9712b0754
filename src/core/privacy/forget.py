"""Removing personal data from rows, in the caller's transaction: content and addresses go, statuses and times stay.

The inbox is searched for a person by opening each webhook, and the person is removed from allow lists of API keys.
"""

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import (
    ColumnElement,
    Row,
    Text,
    bindparam,
    case,
    cast,
    delete,
    func,
    or_,
    select,
    tuple_,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from core.access.api_key_lookup import RECIPIENTS_COLUMN
from core.access.tables import api_keys
from core.addresses import known_address, lookup_form
from core.idempotency import idempotency_keys
from core.inbox.tables import WebhookStatus, inbox
from core.masking import contains_address, encodes_phone_number, pseudonym
from core.messages.provider_ids import open_id_or_none
from core.messages.record import MessageKey
from core.messages.status import ProviderId
from core.messages.tables import attempts, external_ids, message_batches, messages
from core.person import Person, erased_name, spells_person
from core.ports.sending import MESSAGE
from core.sealing import SealBroken, Sealer

log = structlog.get_logger(__name__)

ERASED_ADDRESS = "••••"
"""The masked form of an address that is no longer stored."""

_SINCE = func.coalesce(messages.c.erased_at, func.now())
_PARTS = {"event": "event_sealed", "raw": "raw_sealed"}


async def forget_content(connection: AsyncConnection, keys: Collection[MessageKey]) -> None:
    """Delete the content of messages."""
    await connection.execute(
        update(messages)
        .where(tuple_(messages.c.tenant_id, messages.c.id).in_(keys))
        .values(content_sealed=None, erased_at=_SINCE)
    )


async def forget_addresses(connection: AsyncConnection, sealer: Sealer, keys: Collection[MessageKey]) -> None:
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


async def webhooks_of_messages(connection: AsyncConnection, keys: Collection[MessageKey]) -> Sequence[Any]:
    """The processed webhooks about messages whose content is still stored."""
    rows = await connection.execute(
        select(inbox.c.tenant_id, inbox.c.id, inbox.c.dedupe_key)
        .where(
            tuple_(inbox.c.tenant_id, inbox.c.subject_id).in_(keys),
            inbox.c.subject_kind == MESSAGE,
            inbox.c.status != "RECEIVED",
            or_(inbox.c.event_sealed.is_not(None), inbox.c.raw_sealed.is_not(None)),
        )
        .order_by(inbox.c.tenant_id, inbox.c.id)
        .with_for_update()
    )
    return rows.all()


@dataclass(frozen=True, slots=True)
class InboxSearch:
    """Rows to be forgotten; `reached` is how far the search got, `waits` whether it has to wait for a row."""

    to_forget: Sequence[Row[Any]]
    reached: UUID | None
    waits: bool
    is_end: bool


async def search_inbox(
    connection: AsyncConnection, sealer: Sealer, tenant: UUID, person: Person, after: UUID | None, batch: int
) -> InboxSearch:
    """Search the next webhooks of a tenant whose content is stored.

    A webhook that waits to be applied may still add a message of the person: the search stops before it. It also stops
    before one whose key is missing here, since another process may find the person in it.
    """
    statement = (
        select(inbox.c.tenant_id, inbox.c.id, inbox.c.dedupe_key, *(inbox.c[c] for c in _PARTS.values()))
        .where(inbox.c.tenant_id == tenant, or_(inbox.c.event_sealed.is_not(None), inbox.c.raw_sealed.is_not(None)))
        .order_by(inbox.c.id)
        .limit(batch)
    )
    if after is not None:
        statement = statement.where(inbox.c.id > after)
    rows = (await connection.execute(statement)).all()
    closed = [row.id for row in rows if _lies_under_a_missing_key(sealer, row)]
    naming = {row.id for row in rows if row.id not in closed and _names(sealer, row, person)}
    at_rest = await _lock_at_rest(connection, tenant, naming)
    found: list[Row[Any]] = []
    reached = after
    for row in rows:
        if row.id in closed:
            log.warning("erasure_waits", inbox_id=str(row.id), reason="a webhook lies under a key that is missing here")
            return InboxSearch(found, reached, waits=True, is_end=False)
        if row.id in naming:
            if row.id not in at_rest:
                return InboxSearch(found, reached, waits=True, is_end=False)
            found.append(row)
        reached = row.id
    return InboxSearch(found, reached, waits=False, is_end=len(rows) < batch)


async def _lock_at_rest(connection: AsyncConnection, tenant: UUID, ids: Collection[UUID]) -> frozenset[UUID]:
    """Lock those that do not wait to be applied; meanwhile an operator may have requested that one is applied again."""
    if not ids:
        return frozenset()
    held = (
        select(inbox.c.id)
        .where(inbox.c.tenant_id == tenant, inbox.c.id.in_(ids), inbox.c.status != WebhookStatus.RECEIVED.value)
        .order_by(inbox.c.id)
        .with_for_update()
    )
    return frozenset((await connection.execute(held)).scalars())


def _lies_under_a_missing_key(sealer: Sealer, row: Row[Any]) -> bool:
    sealed = (getattr(row, column) for column in _PARTS.values())
    return any(one is not None and sealer.missing_key(one) for one in sealed)


def _names(sealer: Sealer, row: Row[Any], person: Person) -> bool:
    return person.is_in(row.dedupe_key) or any(
        sealed is not None and _opened_names(sealer, row, name, sealed, person)
        for name, column in _PARTS.items()
        for sealed in [getattr(row, column)]
    )


def _opened_names(sealer: Sealer, row: Row[Any], name: str, sealed: bytes, person: Person) -> bool:
    try:
        return person.is_in(sealer.open(sealed, tenant=row.tenant_id, row=row.id, column=name))
    except SealBroken:
        # It cannot be read, so it identifies no one.
        return False


async def remove_from_allow_lists(connection: AsyncConnection, sealer: Sealer, tenant: UUID, person: Person) -> int:
    """Remove a person from a tenant's allow lists; returns how many contained them. An empty list allows no one."""
    listed = select(api_keys.c.id, api_keys.c.recipients_sealed).where(
        api_keys.c.tenant_id == tenant, api_keys.c.recipients_sealed.is_not(None)
    )
    found = 0
    for row in await connection.execute(listed.with_for_update()):
        try:
            recipients = json.loads(
                sealer.open(row.recipients_sealed, tenant=tenant, row=row.id, column=RECIPIENTS_COLUMN)
            )
        except SealBroken as error:
            log.error("recipients_unreadable", api_key_id=str(row.id), reason=str(error))
            continue
        left = [one for one in recipients if lookup_form(one) not in person.spellings]
        if len(left) == len(recipients):
            continue
        found += 1
        await connection.execute(
            update(api_keys)
            .where(api_keys.c.tenant_id == tenant, api_keys.c.id == row.id)
            .values(
                recipients_sealed=sealer.seal(json.dumps(left), tenant=tenant, row=row.id, column=RECIPIENTS_COLUMN),
                recipients_masked=[known_address(one).masked for one in left],
            )
        )
    return found


async def forget_names(connection: AsyncConnection, tenant: UUID, person: Person) -> int:
    """Remove a person's address from names; returns how many contained it.

    An external id is replaced by its message's own id in both of its tables. An idempotency key is deleted: its request
    is canceled or done.
    """
    rows = await connection.execute(
        update(external_ids)
        .where(external_ids.c.tenant_id == tenant, spells_person(external_ids.c.external_id, person))
        .values(external_id=erased_name(external_ids.c.message_id))
        .returning(external_ids.c.message_id)
    )
    ids = list(rows.scalars())
    if ids:
        await connection.execute(
            update(messages)
            .where(messages.c.tenant_id == tenant, messages.c.id.in_(ids))
            .values(external_id=erased_name(messages.c.id))
        )
    dropped = await connection.execute(
        delete(idempotency_keys).where(
            idempotency_keys.c.tenant_id == tenant, spells_person(idempotency_keys.c.key, person)
        )
    )
    unnamed = await connection.execute(
        update(message_batches)
        .where(message_batches.c.tenant_id == tenant, spells_person(message_batches.c.name, person))
        .values(name=None)
    )
    masked = await connection.execute(
        update(api_keys)
        .where(api_keys.c.tenant_id == tenant, spells_person(api_keys.c.name, person))
        .values(name=erased_name(api_keys.c.id))
    )
    return len(ids) + dropped.rowcount + unnamed.rowcount + masked.rowcount
