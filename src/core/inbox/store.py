"""Storing a verified webhook's events, each once, before it is answered; and claiming those that are due."""

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import ARRAY, LargeBinary, Row, TextClause, bindparam, func, select, text, tuple_
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from core.database import Database, is_contention
from core.errors import Overloaded
from core.group_commit import GroupCommit, GroupLimits, ProcessSeparately
from core.ids import uuid7
from core.inbox.closing import retry_later
from core.inbox.events import EventTypes, UnknownEvent
from core.inbox.tables import WebhookStatus, inbox
from core.masking import pseudonym, stored_forms
from core.nouns import EventAddress, InboxEvent, InboxKey, SubjectKey
from core.ports import InboundMessage, ProviderEvent
from core.ports.identity import DEFAULT_TENANT
from core.sealing import SealBroken, Sealer, is_readable

log = structlog.get_logger(__name__)

ROWS_AT_ONCE = 1_000
"""A statement has at most 32,767 parameters; Meta's largest webhooks hold ten thousand events."""


@dataclass(frozen=True, slots=True)
class _OwnedEvent:
    """One event, the index of its webhook, the tenant it belongs to, and the object that it names."""

    webhook: int
    owner: UUID
    event: ProviderEvent
    subject: SubjectKey | None


async def store_events(
    database: Database,
    sealer: Sealer,
    types: EventTypes,
    integration: str,
    webhooks: Sequence[Sequence[ProviderEvent]],
) -> Sequence[int]:
    """Store the events of webhooks in one transaction, each once; returns how many of each webhook's were new.

    Raises UnknownEvent for an event that no noun understands.
    """
    events = [event for one in webhooks for event in one]
    if not events:
        return [0] * len(webhooks)
    indexes = [webhook for webhook, one in enumerate(webhooks) for _ in one]
    addresses = [types.address_of(event) for event in events]
    owners = await _find_owners(database, types, integration, addresses)
    subjects = [address.subject for address in addresses]
    owned = [_OwnedEvent(*one) for one in zip(indexes, owners, events, subjects, strict=True)]
    new = Counter[int]()
    async with database.transaction(*set(owners)) as connection:
        rows = [
            (_row(sealer, types, integration, one), one.webhook)
            for one in await _not_stored_yet(connection, sealer, integration, owned)
        ]
        # One order in all processes: two groups that share events wait for each other instead of deadlocking.
        rows.sort(key=lambda pair: (str(pair[0]["tenant_id"]), str(pair[0]["dedupe_key"])))
        webhook_of = {row["id"]: webhook for row, webhook in rows}
        for begin in range(0, len(rows), ROWS_AT_ONCE):
            some = insert(inbox).values([row for row, _ in rows[begin : begin + ROWS_AT_ONCE]])
            inserted = await connection.execute(some.on_conflict_do_nothing().returning(inbox.c.id))
            new.update(webhook_of[row_id] for row_id in inserted.scalars())
    return [new[webhook] for webhook in range(len(webhooks))]


async def _not_stored_yet(
    connection: AsyncConnection, sealer: Sealer, integration: str, owned: Sequence[_OwnedEvent]
) -> Sequence[_OwnedEvent]:
    """Leave out events whose id is stored in an earlier form, which the unique index does not match.

    Under an earlier encryption key an id has another hash. Versions without hashes stored the id itself, which matters
    for inbound messages: they would be stored twice.
    """
    forms = [_earlier_forms(sealer, one.event) for one in owned]
    wanted = {form for found in forms for form in found}
    if not wanted:
        return owned
    rows = await connection.execute(
        select(inbox.c.dedupe_key).where(inbox.c.integration == integration, inbox.c.dedupe_key.in_(wanted))
    )
    kept = set(rows.scalars())
    return [one for one, found in zip(owned, forms, strict=True) if kept.isdisjoint(found)]


def _earlier_forms(sealer: Sealer, event: ProviderEvent) -> Sequence[str]:
    plain, *hashes = stored_forms(sealer, event.dedupe_key)
    if not hashes:
        return []
    return [*([plain] if isinstance(event, InboundMessage) else []), *hashes[1:]]


async def inbox_rows(connection: AsyncConnection, places: Sequence[InboxKey]) -> Sequence[Row[Any]]:
    """The rows of events, as `forget_webhooks` takes them."""
    if not places:
        return []
    chosen = tuple_(inbox.c.tenant_id, inbox.c.id).in_(list(places))
    return list(await connection.execute(select(inbox.c.tenant_id, inbox.c.id, inbox.c.dedupe_key).where(chosen)))


async def _find_owners(
    database: Database, types: EventTypes, integration: str, addresses: Sequence[EventAddress]
) -> list[UUID]:
    """The tenant of each event: that of our own reference, else of the resource it came in on, else the default."""
    wanted: dict[str, set[str]] = {}
    for one in addresses:
        if one.tenant_id is None and one.resource is not None:
            kind, key = one.resource
            wanted.setdefault(kind, set()).add(key)
    found: dict[tuple[str, str], UUID] = {}
    if wanted:
        async with database.transaction() as connection:
            for kind, keys in wanted.items():
                owners = await types.owner_of(kind).find(connection, integration, keys)
                found |= {(kind, key): tenant for key, tenant in owners.items()}
    return [one.tenant_id or (found.get(one.resource) if one.resource else None) or DEFAULT_TENANT for one in addresses]


def _row(sealer: Sealer, types: EventTypes, integration: str, owned: _OwnedEvent) -> dict[str, object]:
    tenant, event = owned.owner, owned.event
    row, subject = uuid7(), owned.subject
    return {
        "tenant_id": tenant,
        "id": row,
        "integration": integration,
        # A hash replaces an id that contains a person's number, and stays when the person is erased.
        "dedupe_key": pseudonym(sealer, event.dedupe_key),
        "event_type": event.event_type,
        "subject_kind": subject.kind if subject else None,
        "subject_id": subject.id if subject else None,
        "event_sealed": sealer.seal(types.encode(event), tenant=tenant, row=row, column="event"),
        "raw_sealed": sealer.seal(event.raw, tenant=tenant, row=row, column="raw"),
    }


_READABLE = text(is_readable("inbox.event_sealed")).bindparams(bindparam("keys", type_=ARRAY(LargeBinary)))


def _is_readable_by(sealer: Sealer) -> TextClause:
    """SQL: whether this process has the key of an event."""
    return _READABLE.bindparams(keys=sealer.encoded_names)


async def claim_due_events(
    connection: AsyncConnection, sealer: Sealer, types: EventTypes, *, limit: int = 200
) -> list[InboxEvent]:
    """Lock due events until the end of the transaction; one that cannot be read is left out and retried later.

    One that is sealed with a key missing here is not claimed, so that no attempt is counted.
    """
    rows = await connection.execute(
        select(inbox)
        .where(
            inbox.c.status == WebhookStatus.RECEIVED.value,
            inbox.c.due_at <= func.now(),
            # Events sealed with a key that this process lacks wait for a process that has it.
            _is_readable_by(sealer),
        )
        .order_by(inbox.c.due_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    taken: list[InboxEvent] = []
    unreadable: dict[InboxKey, str] = {}
    for row in rows:
        place = InboxKey(row.tenant_id, row.id)
        try:
            opened = sealer.open(row.event_sealed, tenant=row.tenant_id, row=row.id, column="event")
            taken.append(InboxEvent(place, row.integration, types.decode(opened)))
        except SealBroken:
            unreadable[place] = "cannot be read back: is its key still among ENCRYPTION_KEYS?"
        except UnknownEvent as error:
            # A later version stored it, or the noun was removed: it is retried, and fails with a dead letter.
            log.error("inbox_not_understood", inbox_id=str(row.id), reason=str(error))
            unreadable[place] = str(error)
        except Exception:
            # An earlier or later version wrote something else: the other events go on.
            log.exception("inbox_unreadable", inbox_id=str(row.id))
            unreadable[place] = "cannot be read back: another version wrote it down"
    await retry_later(connection, unreadable)
    return taken


# Stores webhooks that arrive at the same time in one group.


MOST = 500
"""Events of a group; a single webhook may hold more."""

Events = Sequence[ProviderEvent]
Store = Callable[[str, Sequence[Events]], Awaitable[Sequence[int]]]
"""Stores the webhooks of an integration in one transaction; says of each how many of its events were new."""


class Intake:
    """A queue for each integration, stored group by group. A caller who leaves has its events stored all the same."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._queues: dict[str, GroupCommit[Events, int]] = {}

    async def keep(self, integration: str, events: Events) -> int:
        """Store a webhook's events, each once; returns how many were new. Raises Overloaded."""
        if integration not in self._queues:
            limits = GroupLimits(items=MOST, weight=MOST)
            self._queues[integration] = GroupCommit(partial(self._store_group, integration), limits, weight_of=len)
        return await self._queues[integration].submit(events)

    async def _store_group(self, integration: str, webhooks: Sequence[Events]) -> Sequence[int]:
        try:
            return await self._store(integration, webhooks)
        except Exception as error:
            is_away = isinstance(error, Overloaded) and not is_contention(error.__cause__)
            if len(webhooks) == 1 or is_away:
                raise
            raise ProcessSeparately from error
