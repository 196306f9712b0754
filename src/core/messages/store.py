"""Storing messages: one statement for messages, events, keys and external ids, whatever the size of the group.

The statement is sent through the driver: through SQLAlchemy it took a third more of the process's time in groups of
twenty (1.5 against 1.1 ms), and every message waits for it. An external id is taken before the key, so that only one
combination has to be rolled back: an external id that was free with a key that was taken.
"""

import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg

from core.addresses import lookup_form
from core.database import Database, driver_connection, is_contention
from core.errors import AppError, CommitUnknown, InputRule, InvalidInput, Overloaded
from core.group_commit import GroupCommit, GroupLimits, ProcessSeparately, Waiting
from core.idempotency import KEPT, IdempotentRequest, conflict_error
from core.messages.queries import Message
from core.messages.status import Direction, MessageStatus, route_to_json
from core.messages.validation import CheckedDraft
from core.sealing import Sealer
from core.words import say


@dataclass(frozen=True, slots=True)
class SealedMessage:
    """A message ready to be stored; `send_at` and `send_after` are its schedule after quiet hours were applied."""

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
        """The template it was made from."""
        filled = self.checked.wording.filled
        return filled.template_id if filled else None

    @property
    def in_reply_to(self) -> UUID | None:
        """The message it replies to."""
        answered = self.checked.draft.in_reply_to
        return answered.id if answered else None

    @property
    def within(self) -> timedelta | None:
        """The time limit of its first step; the last step has none, since no step follows it."""
        route = self.checked.route
        return route[0].within if len(route) > 1 else None


@dataclass(frozen=True, slots=True)
class Stored:
    """It was stored; the times are by the database's clock."""

    status: MessageStatus
    created_at: datetime
    due_at: datetime
    send_at: datetime | None
    expires_at: datetime | None


@dataclass(frozen=True, slots=True)
class AlreadyStored:
    """An earlier request had stored it already."""

    message_id: UUID


Outcome = Stored | AlreadyStored | AppError
"""The outcome of storing a message; an AppError refuses it."""


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
    """Seal a checked draft; `send_at`, if given, replaces the caller's schedule."""
    draft, to = checked.draft, checked.address.value
    return SealedMessage(
        tenant_id,
        message_id,
        checked,
        request,
        to_sealed=sealer.seal(to, tenant=tenant_id, row=message_id, column="to"),
        to_hash=sealer.lookup_hash(lookup_form(to), tenant=tenant_id),
        content_sealed=sealer.seal(checked.wording.to_json(), tenant=tenant_id, row=message_id, column="content"),
        send_at=send_at or draft.send_at,
        send_after=None if send_at else draft.send_after,
        batch_id=batch_id,
    )


def as_message(message: SealedMessage, stored: Stored) -> Message:
    """The stored message as queries return it, made without reading the database."""
    draft = message.checked.draft
    return Message(
        id=message.message_id,
        direction=Direction.OUTBOUND,
        status=stored.status,
        channel=message.checked.route[0].channel,
        route=message.checked.route,
        step=0,
        to_masked=message.checked.address.masked,
        failure=None,
        send_at=stored.send_at,
        next_attempt_at=stored.due_at if stored.status is MessageStatus.QUEUED else None,
        next_look_at=None,
        expires_at=stored.expires_at,
        external_id=draft.external_id,
        batch_id=message.batch_id,
        created_at=stored.created_at,
        updated_at=stored.created_at,
        sent_at=None,
        delivered_at=None,
        read_at=None,
        content=message.checked.wording.content,
        filled=message.checked.wording.filled,
        template_id=message.template_id,
        in_reply_to=message.in_reply_to,
        to=message.checked.address.value,
    )


# A lock held elsewhere must not delay a group for long: after the time-out each message is tried by itself.
_GROUP_LOCK_TIMEOUT, _SINGLE_LOCK_TIMEOUT = "1s", "5s"

_COLUMNS: Sequence[tuple[str, str, Callable[[SealedMessage], Any]]] = [
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
_ARRAYS = ", ".join(f"${place}::{kind}[]" for place, (_, kind, _) in enumerate(_COLUMNS, 1))
_NAMES = ", ".join(name for name, _, _ in _COLUMNS)

# Rows are inserted in one order, so that two groups that share keys wait for each other instead of deadlocking.
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
), logged AS (
    INSERT INTO message_events (tenant_id, message_id, status, channel, source)
    SELECT tenant_id, id, status, channel, 'API' FROM stored
)
SELECT id, status, created_at, due_at, send_at, expires_at FROM stored
UNION ALL SELECT message_id, NULL, NULL, NULL, NULL, NULL FROM named WHERE message_id NOT IN (SELECT id FROM stored)
UNION ALL SELECT resource_id, NULL, NULL, NULL, NULL, NULL FROM keyed WHERE resource_id NOT IN (SELECT id FROM stored)
"""  # noqa: S608  # the table above and a constant are all that is filled in

_HOLDERS = """
SELECT given.id, held.resource_id, held.request_hash, held.created_at AS used_at,
    taken.message_id AS holder, holder.created_at AS taken_at, own.id AS own
FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[]) AS given(tenant_id, id, key, external_id)
LEFT JOIN idempotency_keys held
    ON held.tenant_id = given.tenant_id AND held.key = given.key AND held.expires_at > now()
LEFT JOIN external_ids taken ON taken.tenant_id = given.tenant_id AND taken.external_id = given.external_id
LEFT JOIN messages holder ON holder.tenant_id = taken.tenant_id AND holder.id = taken.message_id
LEFT JOIN messages own ON own.tenant_id = given.tenant_id AND own.id = given.id
"""


class _PartlyTaken(Exception):
    """A message took its external id and not its key, or the reverse: the transaction must be rolled back."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__()
        self.outcome = outcome


async def store_messages(database: Database, messages: Sequence[SealedMessage]) -> Sequence[Outcome]:
    """Store messages in one transaction, and return the outcome of each, in order.

    Raises Apart when one of several stands in the others' way; a single member's own mistake is raised as it is.
    """
    tenants, is_group = {message.tenant_id for message in messages}, len(messages) > 1
    patience = _GROUP_LOCK_TIMEOUT if is_group else _SINGLE_LOCK_TIMEOUT
    try:
        async with database.transaction(*tenants, lock_timeout=patience) as connection:
            return await _store(await driver_connection(connection), messages)
    except Overloaded as error:
        # Not after a lost commit, a CommitUnknown: trying again might store them twice.
        if is_group and is_contention(error.__cause__):
            raise ProcessSeparately from error
        return [error] * len(messages)
    except _PartlyTaken as half:
        if is_group:
            raise ProcessSeparately from half
        return [half.outcome]
    except Exception as error:
        if is_group:
            raise ProcessSeparately from error
        raise


async def _store(driver: asyncpg.Connection, messages: Sequence[SealedMessage]) -> Sequence[Outcome]:
    columns = ([take(message) for message in messages] for _, _, take in _COLUMNS)
    rows = await driver.fetch(_STORE, *columns)
    stored = {
        row["id"]: Stored(
            MessageStatus(row["status"]), row["created_at"], row["due_at"], row["send_at"], row["expires_at"]
        )
        for row in rows
        if row["status"] is not None
    }
    lost = [message for message in messages if message.message_id not in stored]
    verdicts = await _verdicts(driver, lost) if lost else {}
    if len(rows) > len(stored):
        raise _PartlyTaken(next(iter(verdicts.values())))
    return [stored.get(message.message_id) or verdicts[message.message_id] for message in messages]


async def find_earlier(
    database: Database, messages: Sequence[SealedMessage]
) -> Sequence[AlreadyStored | AppError | None]:
    """What would keep messages from being stored; None for those that could be stored. Nothing is stored."""
    async with database.transaction(*{message.tenant_id for message in messages}) as connection:
        rows = await _holders(await driver_connection(connection), messages)
    return [_verdict(message, rows[message.message_id]) for message in messages]


async def _verdicts(driver: asyncpg.Connection, lost: Sequence[SealedMessage]) -> dict[UUID, Outcome]:
    rows = await _holders(driver, lost)
    gone = Overloaded(
        say("OBSTACLE_GONE", "The conflict that prevented this has since been resolved. Try again."), retry_after=1
    )
    return {message.message_id: _verdict(message, rows[message.message_id]) or gone for message in lost}


async def _holders(driver: asyncpg.Connection, messages: Sequence[SealedMessage]) -> dict[UUID, asyncpg.Record]:
    rows = await driver.fetch(
        _HOLDERS,
        [message.tenant_id for message in messages],
        [message.message_id for message in messages],
        [message.request and message.request.key for message in messages],
        [message.checked.draft.external_id for message in messages],
    )
    return {row["id"]: row for row in rows}


def _verdict(message: SealedMessage, row: asyncpg.Record) -> AlreadyStored | AppError | None:
    if message.request is not None and row["resource_id"] is not None:
        if row["request_hash"] not in message.request.fingerprints:
            return conflict_error(message.request.key, row["used_at"], [*message.checked.place, "idempotencyKey"])
        return AlreadyStored(row["resource_id"])
    if row["own"] is not None:
        return AlreadyStored(row["own"])
    if row["holder"] is not None:
        return _taken(message, row["taken_at"])
    return None


def _taken(message: SealedMessage, taken_at: datetime | None) -> InvalidInput:
    # External ids are kept for longer than messages.
    text = say(
        "EXTERNAL_ID_TAKEN",
        (
            "The external id {id} already belongs to a message. An external id always names the same message; to "
            "repeat a request safely, use an idempotency key."
        ),
        id=repr(message.checked.draft.external_id),
    )
    if taken_at:
        text = say(
            "EXTERNAL_ID_TAKEN_AT",
            (
                "The external id {id} already belongs to a message of {when}. An external id always names the same "
                "message; to repeat a request safely, use an idempotency key."
            ),
            id=repr(message.checked.draft.external_id),
            when=f"{taken_at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}",
        )
    return InvalidInput(text, path=[*message.checked.place, "externalId"], rule=InputRule.NOT_ALLOWED)


# ─── The queue ────────────────────────────────────────────────────────────


Commit = Callable[[Sequence[SealedMessage]], Awaitable[Sequence[Outcome]]]
Notify = Callable[[Sequence[tuple[SealedMessage, Stored]]], Awaitable[None]]

STORE_LIMITS = GroupLimits(items=200, weight=4_000_000, under_way=2, waiting=5_000)
"""Of groups of messages; the weight is in bytes of content."""


class StoreQueue:
    """Stores messages in groups: `commit` stores a group, and `notify` is told what was stored after its commit.

    Tenants take turns. Messages with equal idempotency keys wait for the first of them instead of for its row's lock.
    """

    def __init__(self, commit: Commit, notify: Notify, limits: GroupLimits = STORE_LIMITS) -> None:
        self._notify = notify
        self._first: dict[tuple[UUID, str], Waiting[SealedMessage, Outcome]] = {}
        self._queue: GroupCommit[SealedMessage, Outcome] = GroupCommit(
            commit,
            limits,
            weight_of=lambda message: len(message.content_sealed),
            full=say(
                "TOO_MANY_AT_ONCE", "The server is receiving too many messages at the moment; nothing was stored."
            ),
            skips_abandoned=True,
            after=self._notify_stored,
            stopped=_stopped,
        )

    async def submit(self, message: SealedMessage) -> Outcome:
        """Store a message in the next group. Raises Overloaded, and what the database refuses about it alone."""
        if message.request is None:
            return await self._queue.submit(message, line=message.tenant_id)
        key = (message.tenant_id, message.request.key)
        while (first := self._first.get(key)) is not None and not first.result.done():
            outcome = _outcome_of_equal(first.item, message, await first.wait())
            if outcome is not None:
                return outcome
        one = self._first[key] = self._queue.enqueue(message, line=message.tenant_id)
        one.result.add_done_callback(lambda _: self._forget(key, one))
        return await one.wait()

    def _forget(self, key: tuple[UUID, str], one: Waiting[SealedMessage, Outcome]) -> None:
        if self._first.get(key) is one:
            del self._first[key]

    async def _notify_stored(self, processed: Sequence[tuple[SealedMessage, Outcome]]) -> None:
        stored = [(message, outcome) for message, outcome in processed if isinstance(outcome, Stored)]
        if stored:
            await self._notify(stored)


def _stopped() -> CommitUnknown:
    text = say(
        "SERVER_STOPPED", "The server stopped during the request. Repeat the request with the same idempotency key."
    )
    return CommitUnknown(text, retry_after=2)


def _outcome_of_equal(first: SealedMessage, later: SealedMessage, outcome: Outcome) -> Outcome | None:
    """What the first outcome means for a later message with the same key; None when it has to be stored itself."""
    is_equal = first.request == later.request
    if is_equal and isinstance(outcome, Stored | AlreadyStored):
        return AlreadyStored(first.message_id if isinstance(outcome, Stored) else outcome.message_id)
    return outcome if isinstance(outcome, Overloaded) else None
