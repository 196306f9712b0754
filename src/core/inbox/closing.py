"""What becomes of an event: closed, retried later, failed with a dead letter, processed again, or forgotten."""

from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Row,
    TableValuedAlias,
    Text,
    Uuid,
    bindparam,
    case,
    cast,
    column,
    func,
    literal,
    select,
    tuple_,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.types import TypeEngine

from core.dead_letters.store import WEBHOOK_APPLY, NewDeadLetter, add_dead_letters, close_for_webhooks
from core.errors import InvalidState, NotFound
from core.inbox.tables import WebhookStatus, inbox
from core.masking import pseudonym
from core.nouns import InboxKey, SubjectKey
from core.sealing import Sealer
from core.words import say

log = structlog.get_logger(__name__)

MAX_TRIES = 10
"""After so many attempts an event is FAILED: its pauses add up to a quarter of an hour."""
UNKNOWN_KEPT = timedelta(minutes=10)
"""How long a report about an unknown message is retried: it may have arrived before our own commit."""

_LONGEST_PAUSE = 300
_UNKNOWN_PAUSE = 30
_CONTENTION_PAUSE = timedelta(seconds=2)
_SECOND = literal(timedelta(seconds=1))


async def mark_processed(connection: AsyncConnection, found: Mapping[InboxKey, SubjectKey | None]) -> None:
    """Close events that were applied, each with the object it changed, which must belong to the same tenant."""
    if found:
        kinds = [None if one is None else one.kind for one in found.values()]
        ids = [None if one is None else one.id for one in found.values()]
        mine = _unnest(list(found), kind=(kinds, Text()), subject=(ids, Uuid()))
        await connection.execute(
            update(inbox)
            .where(inbox.c.tenant_id == mine.c.tenant_id, inbox.c.id == mine.c.id)
            .values(
                _closed_values(WebhookStatus.PROCESSED, None)
                | {
                    "subject_kind": func.coalesce(mine.c.kind, inbox.c.subject_kind),
                    "subject_id": func.coalesce(mine.c.subject, inbox.c.subject_id),
                }
            )
        )


async def mark_ignored(connection: AsyncConnection, places: Collection[InboxKey], reason: str) -> None:
    """Close events that nothing here uses."""
    if places:
        await connection.execute(update(inbox).where(_at(places)).values(_closed_values(WebhookStatus.IGNORED, reason)))


async def defer_unknown(connection: AsyncConnection, places: Collection[InboxKey], *, names_ours: bool) -> None:
    """Retry reports about unknown messages later, with growing pauses, for `UNKNOWN_KEPT`.

    After that, a report with our own reference fails with a dead letter; one without it is ignored.
    """
    if not places:
        return
    is_old = func.coalesce(inbox.c.replayed_at, inbox.c.received_at) < func.now() - UNKNOWN_KEPT
    end = WebhookStatus.FAILED if names_ours else WebhookStatus.IGNORED
    reason = "no message is known by its reference" if names_ours else "no message is known by its id"
    rows = await connection.execute(
        update(inbox)
        .where(_at(places))
        .values(_retry_values(is_old, end, _UNKNOWN_PAUSE) | {"error": reason})
        .returning(inbox)
    )
    await _fail(connection, rows.all())


async def retry_later(connection: AsyncConnection, errors: Mapping[InboxKey, str]) -> None:
    """Retry events that could not be applied later, with growing pauses; the tenth time they fail."""
    if not errors:
        return
    mine = _unnest(list(errors), error=(list(errors.values()), Text()))
    rows = await connection.execute(
        update(inbox)
        .where(inbox.c.tenant_id == mine.c.tenant_id, inbox.c.id == mine.c.id)
        .values(
            _retry_values(inbox.c.attempts + 1 >= MAX_TRIES, WebhookStatus.FAILED, _LONGEST_PAUSE)
            | {"error": mine.c.error}
        )
        .returning(inbox)
    )
    await _fail(connection, rows.all())


async def defer_contended(connection: AsyncConnection, place: InboxKey) -> None:
    """Retry an event in a moment, since other transactions lock its rows: this counts as no attempt."""
    await connection.execute(update(inbox).where(_at([place])).values(due_at=func.now() + _CONTENTION_PAUSE))


def _at(places: Collection[InboxKey]) -> ColumnElement[bool]:
    return tuple_(inbox.c.tenant_id, inbox.c.id).in_(list(places))


def _unnest(places: Sequence[InboxKey], **more: tuple[Sequence[Any], TypeEngine[Any]]) -> TableValuedAlias:
    """A table of the keys, and of values of a type that belong to them, by the name of their column."""
    tenants, ids = [place.tenant_id for place in places], [place.id for place in places]
    arrays = {"tenant_id": (tenants, Uuid()), "id": (ids, Uuid()), **more}
    columns = [column(name, type_) for name, (_, type_) in arrays.items()]
    return (
        func.unnest(*(cast(values, ARRAY(type_)) for values, type_ in arrays.values()))
        .table_valued(*columns, name="mine")
        .render_derived()
    )


def _closed_values(status: WebhookStatus, error: str | None) -> dict[str, Any]:
    return {
        "status": status.value,
        "error": error,
        "attempts": inbox.c.attempts + 1,
        "processed_at": func.now(),
    }


def _retry_values(is_over: ColumnElement[bool], end: WebhookStatus, longest: int) -> dict[str, Any]:
    pause = func.least(func.power(2, func.least(inbox.c.attempts + 1, 16)), longest) * _SECOND
    return {
        "status": case((is_over, end.value), else_=inbox.c.status),
        "processed_at": case((is_over, func.now()), else_=None),
        "due_at": func.now() + pause,
        "attempts": inbox.c.attempts + 1,
    }


async def _fail(connection: AsyncConnection, rows: Sequence[Row[Any]]) -> None:
    """Write a dead letter for each of these that failed."""
    failed = [row for row in rows if row.status == WebhookStatus.FAILED]
    for row in failed:
        log.error(
            "inbox_parked",
            inbox_id=str(row.id),
            integration=row.integration,
            error=row.error,
            advice="fix the cause, then: interalpha webhooks replay, or interalpha dead-letters discard",
        )
    await add_dead_letters(
        connection,
        [
            NewDeadLetter(
                row.tenant_id,
                WEBHOOK_APPLY,
                row.error,
                row.attempts,
                row.integration,
                None if row.subject_id is None else SubjectKey(row.subject_kind, row.subject_id),
                row.id,
            )
            for row in failed
        ],
    )


async def replay_webhooks(
    connection: AsyncConnection, tenant: UUID, ids: Collection[UUID]
) -> Mapping[UUID, NotFound | InvalidState | None]:
    """Make webhooks due again, with all their attempts; returns for each why it is refused, None where it is not.

    Processing one twice has no second effect: reports move messages forward only, and an inbound message has the id of
    its webhook.
    """
    if not ids:
        return {}
    chosen = (inbox.c.tenant_id == tenant) & inbox.c.id.in_(list(ids))
    # Locked, so that the answers are still true when they are given.
    locked = select(
        inbox.c.id, inbox.c.status, inbox.c.replayed_at, inbox.c.event_sealed.is_not(None).label("is_kept")
    ).where(chosen)
    rows = {row.id: row for row in await connection.execute(locked.order_by(inbox.c.id).with_for_update())}
    refusals = {one: _replay_refusal(rows.get(one)) for one in ids}
    due = [one for one, refusal in refusals.items() if refusal is None and rows[one].status != WebhookStatus.RECEIVED]
    await connection.execute(
        update(inbox)
        .where(inbox.c.tenant_id == tenant, inbox.c.id.in_(due))
        .values(
            status=WebhookStatus.RECEIVED.value,
            due_at=func.now(),
            attempts=0,
            error=None,
            processed_at=None,
            replayed_at=func.now(),
        )
    )
    await close_for_webhooks(connection, tenant, due)
    return refusals


def _replay_refusal(row: Row[Any] | None) -> NotFound | InvalidState | None:
    if row is None:
        return NotFound(say("WEBHOOK_NOT_FOUND", "There is no such webhook."))
    if row.status == WebhookStatus.RECEIVED and row.replayed_at is not None:
        # It was requested before; the caller may have lost the answer.
        return None
    if row.status == WebhookStatus.RECEIVED:
        return InvalidState(
            say("WEBHOOK_WAITS_ALREADY", "This webhook is already waiting to be processed."), state=row.status
        )
    if not row.is_kept:
        text = say(
            "WEBHOOK_ERASED", "The content of this webhook is no longer stored, so it cannot be processed again."
        )
        return InvalidState(text, state=row.status)
    return None


async def forget_webhooks(connection: AsyncConnection, sealer: Sealer, rows: Sequence[Any]) -> None:
    """Delete the content of inbox rows, given with tenant, id and dedupe key; a repeated event is still recognised."""
    if rows:
        named = [
            {"of_tenant": row.tenant_id, "of_id": row.id, "name": pseudonym(sealer, row.dedupe_key)} for row in rows
        ]
        await connection.execute(_FORGET_WEBHOOK, named)


_FORGET_WEBHOOK = (
    update(inbox)
    .where(
        inbox.c.tenant_id == bindparam("of_tenant"),
        inbox.c.id == bindparam("of_id"),
        # Meanwhile an operator may have requested that it is processed again.
        inbox.c.status != "RECEIVED",
    )
    .values(event_sealed=None, raw_sealed=None, dedupe_key=bindparam("name"), erased_at=func.now())
)
