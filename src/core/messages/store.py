"""Storing a group of messages in one statement, and the message that its caller is shown."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg

from core.addresses import lookup_form
from core.database import Database, driver_connection, is_contention
from core.errors import AppError, InputRule, InvalidInput, Overloaded
from core.idempotency import KEPT, IdempotentRequest, conflict_error
from core.messages.queries import Message
from core.messages.status import Direction, MessageStatus, route_to_json
from core.messages.validation import CheckedDraft
from core.sealing import Sealer
from core.words import say


@dataclass(frozen=True, slots=True)
class SealedMessage:
    """A message on its way into the database, sealed; `send_at` and `send_after` are what was made of its schedule."""

    tenant_id: UUID
    message_id: UUID
    checked: CheckedDraft
    request: IdempotentRequest | None
    to_sealed: bytes
    to_hash: bytes
    content_sealed: bytes
    send_at: datetime | None = None
    send_after: timedelta | None = None
    batch_id: UUID | None = None

    @property
    def template_id(self) -> UUID | None:
        """The template it was made of."""
        filled = self.checked.worded.filled
        return filled.template_id if filled else None

    @property
    def in_reply_to(self) -> UUID | None:
        """The message it answers."""
        answered = self.checked.draft.in_reply_to
        return answered.id if answered else None

    @property
    def within(self) -> timedelta | None:
        """How long its first step has; nothing follows the last one, which has all the time there is."""
        route = self.checked.route
        return route[0].within if len(route) > 1 else None


@dataclass(frozen=True, slots=True)
class Stored:
    """It is in the database; the times are the database's."""

    status: MessageStatus
    created_at: datetime
    due_at: datetime
    send_at: datetime | None
    expires_at: datetime | None


@dataclass(frozen=True, slots=True)
class AlreadyStored:
    """An earlier request had made it already."""

    message_id: UUID


Outcome = Stored | AlreadyStored | AppError
"""What became of a member: kept, known already, or refused."""


def seal_draft(
    checked: CheckedDraft,
    sealer: Sealer,
    tenant_id: UUID,
    message_id: UUID,
    *,
    request: IdempotentRequest | None,
    send_at: datetime | None = None,
    batch_id: UUID | None = None,
) -> SealedMessage:
    """Make a member of a checked draft; a `send_at` of our own making replaces the caller's schedule."""
    draft, to = checked.draft, checked.address.value
    return SealedMessage(
        tenant_id,
        message_id,
        checked,
        request,
        to_sealed=sealer.seal(to, tenant=tenant_id, row=message_id, column="to"),
        to_hash=sealer.lookup_hash(lookup_form(to), tenant=tenant_id),
        content_sealed=sealer.seal(checked.worded.to_json(), tenant=tenant_id, row=message_id, column="content"),
        send_at=send_at or draft.send_at,
        send_after=None if send_at else draft.send_after,
        batch_id=batch_id,
    )


def as_message(member: SealedMessage, stored: Stored) -> Message:
    """The message as it now stands, from what is known: nothing has to be read for it."""
    draft = member.checked.draft
    return Message(
        id=member.message_id,
        direction=Direction.OUTBOUND,
        status=stored.status,
        channel=member.checked.route[0].channel,
        route=member.checked.route,
        step=0,
        to_masked=member.checked.address.masked,
        failure=None,
        send_at=stored.send_at,
        next_attempt_at=stored.due_at if stored.status is MessageStatus.QUEUED else None,
        next_look_at=None,
        expires_at=stored.expires_at,
        external_id=draft.external_id,
        batch_id=member.batch_id,
        created_at=stored.created_at,
        updated_at=stored.created_at,
        sent_at=None,
        delivered_at=None,
        read_at=None,
        content=member.checked.worded.content,
        filled=member.checked.worded.filled,
        template_id=member.template_id,
        in_reply_to=member.in_reply_to,
        to=member.checked.address.value,
    )


# Storing a group of messages: one statement for messages, events, keys and external ids, whatever its size.
#
# It speaks to the driver itself: through SQLAlchemy the same statement took a third more of the process's time in
# groups
# of twenty (1.1 against 1.5 ms), and every message waits for it. An external id is taken before the key, so that only
# one mixture is left to undo: an external id that was free with a key that was not.


# One slow neighbour must not hold a group up for long: what waits longer is tried again by itself.
_GROUP_PATIENCE, _OWN_PATIENCE = "1s", "5s"

_GIVEN: Sequence[tuple[str, str, Callable[[SealedMessage], Any]]] = [
    ("tenant_id", "uuid", lambda one: one.tenant_id),
    ("id", "uuid", lambda one: one.message_id),
    ("channel", "text", lambda one: one.checked.route[0].channel.value),
    ("route", "text", lambda one: json.dumps(route_to_json(one.checked.route))),
    ("to_sealed", "bytea", lambda one: one.to_sealed),
    ("to_masked", "text", lambda one: one.checked.address.masked),
    ("to_hash", "bytea", lambda one: one.to_hash),
    ("content_sealed", "bytea", lambda one: one.content_sealed),
    ("send_at", "timestamptz", lambda one: one.send_at),
    ("send_after", "interval", lambda one: one.send_after),
    ("expires_in", "interval", lambda one: one.checked.draft.expires_in),
    ("within", "interval", lambda one: one.within),
    ("batch_id", "uuid", lambda one: one.batch_id),
    ("template_id", "uuid", lambda one: one.template_id),
    ("in_reply_to", "uuid", lambda one: one.in_reply_to),
    ("simulated_only", "boolean", lambda one: one.checked.draft.reach.simulated_only),
    ("respects_quiet_hours", "boolean", lambda one: one.checked.draft.respects_quiet_hours),
    ("external_id", "text", lambda one: one.checked.draft.external_id),
    ("made_by", "text", lambda one: one.checked.draft.author and one.checked.draft.author.to_json()),
    ("key", "text", lambda one: one.request and one.request.key),
    ("operation", "text", lambda one: one.request and one.request.operation),
    ("request_hash", "bytea", lambda one: one.request and one.request.fingerprints[0]),
]
_ARRAYS = ", ".join(f"${place}::{kind}[]" for place, (_, kind, _) in enumerate(_GIVEN, 1))
_NAMES = ", ".join(name for name, _, _ in _GIVEN)

# Rows are taken in one order by everybody, so that two groups that share keys wait instead of deadlocking.
_STORE = f"""
WITH given AS MATERIALIZED (
    SELECT *, coalesce(send_at, now() + send_after) AS hour FROM unnest({_ARRAYS}) AS given({_NAMES})
), named AS (
    INSERT INTO external_ids (tenant_id, external_id, message_id)
    SELECT tenant_id, external_id, id FROM given WHERE external_id IS NOT NULL ORDER BY tenant_id, external_id
    ON CONFLICT DO NOTHING
    RETURNING message_id
), keyed AS (
    INSERT INTO idempotency_keys AS held (tenant_id, key, operation, request_hash, resource_id, expires_at)
    SELECT tenant_id, key, operation, request_hash, id, now() + interval '{KEPT.days} days' FROM given
    WHERE key IS NOT NULL AND (external_id IS NULL OR id IN (SELECT message_id FROM named))
    ORDER BY tenant_id, key
    ON CONFLICT (tenant_id, key) DO UPDATE SET operation = excluded.operation, request_hash = excluded.request_hash,
        resource_id = excluded.resource_id, created_at = now(), expires_at = excluded.expires_at
    WHERE held.expires_at <= now()
    RETURNING resource_id
), stored AS (
    INSERT INTO messages (tenant_id, id, direction, status, channel, route, to_sealed, to_masked, to_hash,
        content_sealed, due_at, send_at, expires_at, step_until, external_id, batch_id, template_id, in_reply_to,
        simulated_only, respects_quiet_hours, made_by)
    SELECT tenant_id, id, 'OUTBOUND', CASE WHEN hour > now() THEN 'SCHEDULED' ELSE 'QUEUED' END, channel,
        route::jsonb, to_sealed, to_masked, to_hash, content_sealed, greatest(hour, now()), hour,
        greatest(hour, now()) + expires_in, greatest(hour, now()) + within, external_id, batch_id, template_id,
        in_reply_to, simulated_only, respects_quiet_hours, made_by::jsonb
    FROM given
    WHERE (external_id IS NULL OR id IN (SELECT message_id FROM named))
        AND (key IS NULL OR id IN (SELECT resource_id FROM keyed))
    ON CONFLICT DO NOTHING
    RETURNING tenant_id, id, status, channel, created_at, due_at, send_at, expires_at
), told AS (
    INSERT INTO message_events (tenant_id, message_id, status, channel, source)
    SELECT tenant_id, id, status, channel, 'API' FROM stored
)
SELECT id, status, created_at, due_at, send_at, expires_at FROM stored
UNION ALL SELECT message_id, NULL, NULL, NULL, NULL, NULL FROM named WHERE message_id NOT IN (SELECT id FROM stored)
UNION ALL SELECT resource_id, NULL, NULL, NULL, NULL, NULL FROM keyed WHERE resource_id NOT IN (SELECT id FROM stored)
"""  # noqa: S608  # the table above and a constant are all that is filled in

_WHO_HAS_IT = """
SELECT given.id, held.resource_id, held.request_hash, held.created_at AS used_at,
    taken.message_id AS holder, holder.created_at AS taken_at, own.id AS own
FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[]) AS given(tenant_id, id, key, external_id)
LEFT JOIN idempotency_keys held
    ON held.tenant_id = given.tenant_id AND held.key = given.key AND held.expires_at > now()
LEFT JOIN external_ids taken ON taken.tenant_id = given.tenant_id AND taken.external_id = given.external_id
LEFT JOIN messages holder ON holder.tenant_id = taken.tenant_id AND holder.id = taken.message_id
LEFT JOIN messages own ON own.tenant_id = given.tenant_id AND own.id = given.id
"""


class StoreSeparately(Exception):
    """The group cannot be stored as one; nothing of it is. Each member has to be tried by itself."""


class _HalfTaken(Exception):
    """A member took one of the names it wanted and not the other: whoever opened the transaction must undo it."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__()
        self.outcome = outcome


async def store_messages(database: Database, members: Sequence[SealedMessage]) -> Sequence[Outcome]:
    """Store members in a transaction of their own and say what became of each, in order.

    Raises Apart when one of several stands in the others' way; a single member's own mistake is raised as it is.
    """
    tenants, is_group = {member.tenant_id for member in members}, len(members) > 1
    patience = _GROUP_PATIENCE if is_group else _OWN_PATIENCE
    try:
        async with database.transaction(*tenants, lock_timeout=patience) as connection:
            return await _store(await driver_connection(connection), members)
    except Overloaded as error:
        # After a lost commit, a CommitUnknown, trying again might store them twice.
        if is_group and is_contention(error.__cause__):
            raise StoreSeparately from error
        return [error] * len(members)
    except _HalfTaken as half:
        if is_group:
            raise StoreSeparately from half
        return [half.outcome]
    except Exception as error:
        if is_group:
            raise StoreSeparately from error
        raise


async def _store(driver: asyncpg.Connection, members: Sequence[SealedMessage]) -> Sequence[Outcome]:
    columns = ([take(member) for member in members] for _, _, take in _GIVEN)
    rows = await driver.fetch(_STORE, *columns)
    stored = {
        row["id"]: Stored(
            MessageStatus(row["status"]), row["created_at"], row["due_at"], row["send_at"], row["expires_at"]
        )
        for row in rows
        if row["status"] is not None
    }
    lost = [member for member in members if member.message_id not in stored]
    verdicts = await _verdicts(driver, lost) if lost else {}
    if len(rows) > len(stored):
        raise _HalfTaken(next(iter(verdicts.values())))
    return [stored.get(member.message_id) or verdicts[member.message_id] for member in members]


async def find_earlier(
    database: Database, members: Sequence[SealedMessage]
) -> Sequence[AlreadyStored | AppError | None]:
    """What stands in the way of members that are not to be stored: None where nothing does."""
    async with database.transaction(*{member.tenant_id for member in members}) as connection:
        rows = await _who_has_it(await driver_connection(connection), members)
    return [_verdict(member, rows[member.message_id]) for member in members]


async def _verdicts(driver: asyncpg.Connection, lost: Sequence[SealedMessage]) -> dict[UUID, Outcome]:
    rows = await _who_has_it(driver, lost)
    gone = Overloaded(say("OBSTACLE_GONE", "What stood in its way went away meanwhile: try again."), retry_after=1)
    return {member.message_id: _verdict(member, rows[member.message_id]) or gone for member in lost}


async def _who_has_it(driver: asyncpg.Connection, members: Sequence[SealedMessage]) -> dict[UUID, asyncpg.Record]:
    rows = await driver.fetch(
        _WHO_HAS_IT,
        [member.tenant_id for member in members],
        [member.message_id for member in members],
        [member.request and member.request.key for member in members],
        [member.checked.draft.external_id for member in members],
    )
    return {row["id"]: row for row in rows}


def _verdict(member: SealedMessage, row: asyncpg.Record) -> AlreadyStored | AppError | None:
    if member.request is not None and row["resource_id"] is not None:
        if row["request_hash"] not in member.request.fingerprints:
            return conflict_error(member.request.key, row["used_at"], [*member.checked.place, "idempotencyKey"])
        return AlreadyStored(row["resource_id"])
    if row["own"] is not None:
        return AlreadyStored(row["own"])
    if row["holder"] is not None:
        return _taken(member, row["taken_at"])
    return None


def _taken(member: SealedMessage, taken_at: datetime | None) -> InvalidInput:
    # For good means longer than messages may be kept.
    text = say(
        "EXTERNAL_ID_TAKEN",
        "The external id {id} belongs to a message."
        " An external id names one message for good; repeat a request with an idempotency key instead.",
        id=repr(member.checked.draft.external_id),
    )
    if taken_at:
        text = say(
            "EXTERNAL_ID_TAKEN_AT",
            "The external id {id} belongs to a message of {when}."
            " An external id names one message for good; repeat a request with an idempotency key instead.",
            id=repr(member.checked.draft.external_id),
            when=f"{taken_at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}",
        )
    return InvalidInput(text, path=[*member.checked.place, "externalId"], rule=InputRule.NOT_ALLOWED)
