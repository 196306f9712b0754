"""The inbox: a verified webhook's events are kept once, before it is answered, and handed out to be applied."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import ARRAY, LargeBinary, Row, Text, TextClause, bindparam, func, select, text, tuple_
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from core.database import Database
from core.ids import uuid7
from core.inbox.closing import InboxKey, retry_later
from core.inbox.codec import event_from_json, event_to_json
from core.inbox.tables import WebhookStatus, inbox
from core.masking import pseudonym, stored_forms
from core.ports import InboundMessage, OtherEvent, ProviderEvent, Reference, StatusReport
from core.ports.principal import DEFAULT_TENANT
from core.sealing import SealBroken, Sealer, is_readable

log = structlog.get_logger(__name__)

ROWS_AT_ONCE = 1_000
"""A statement has at most 32,767 parameters; Meta's largest webhooks hold ten thousand events."""

# Whose an address is has to be asked before anybody's rows are meant: a function of the database tells that alone.
_OWNERS = text("SELECT address, tenant_id FROM owners_of_addresses(:integration, :addresses)").bindparams(
    bindparam("addresses", type_=ARRAY(Text))
)


@dataclass(frozen=True, slots=True)
class _OwnedEvent:
    """One event: which of several webhooks told it, and whose it is."""

    webhook: int
    owner: UUID
    event: ProviderEvent


async def store_events(
    database: Database, sealer: Sealer, integration: str, webhooks: Sequence[Sequence[ProviderEvent]]
) -> Sequence[int]:
    """Store the events of webhooks in one transaction, each once; returns how many of each webhook's were new."""
    events = [event for one in webhooks for event in one]
    if not events:
        return [0] * len(webhooks)
    told_by = [webhook for webhook, one in enumerate(webhooks) for _ in one]
    owners = await _find_owners(database, integration, events)
    told = [_OwnedEvent(*one) for one in zip(told_by, owners, events, strict=True)]
    new = Counter[int]()
    async with database.transaction(*set(owners)) as connection:
        rows = [
            (_row(sealer, integration, one), one.webhook)
            for one in await _not_stored_yet(connection, sealer, integration, told)
        ]
        # One order for everybody: two groups that share events wait for each other instead of deadlocking.
        rows.sort(key=lambda pair: (str(pair[0]["tenant_id"]), str(pair[0]["dedupe_key"])))
        whose = {row["id"]: webhook for row, webhook in rows}
        for begin in range(0, len(rows), ROWS_AT_ONCE):
            some = insert(inbox).values([row for row, _ in rows[begin : begin + ROWS_AT_ONCE]])
            inserted = await connection.execute(some.on_conflict_do_nothing().returning(inbox.c.id))
            new.update(whose[row_id] for row_id in inserted.scalars())
    return [new[webhook] for webhook in range(len(webhooks))]


async def _not_stored_yet(
    connection: AsyncConnection, sealer: Sealer, integration: str, told: Sequence[_OwnedEvent]
) -> Sequence[_OwnedEvent]:
    """Those that were not kept in an earlier form, of which no index would notice that it is the same.

    Under another encryption key an id has another hash. Before there were hashes it was kept as it is: of what somebody
    wrote, which would be there twice, that is looked at, too.
    """
    forms = [_earlier_forms(sealer, one.event) for one in told]
    wanted = {form for found in forms for form in found}
    if not wanted:
        return told
    rows = await connection.execute(
        select(inbox.c.dedupe_key).where(inbox.c.integration == integration, inbox.c.dedupe_key.in_(wanted))
    )
    kept = set(rows.scalars())
    return [one for one, found in zip(told, forms, strict=True) if kept.isdisjoint(found)]


def _earlier_forms(sealer: Sealer, event: ProviderEvent) -> Sequence[str]:
    plain, *hashes = stored_forms(sealer, event.dedupe_key)
    if not hashes:
        return []
    return [*([plain] if isinstance(event, InboundMessage) else []), *hashes[1:]]


async def inbox_rows(connection: AsyncConnection, places: Sequence[InboxKey]) -> Sequence[Row[Any]]:
    """Rows by which events can be forgotten."""
    if not places:
        return []
    chosen = tuple_(inbox.c.tenant_id, inbox.c.id).in_(list(places))
    return list(await connection.execute(select(inbox.c.tenant_id, inbox.c.id, inbox.c.dedupe_key).where(chosen)))


async def _find_owners(database: Database, integration: str, events: Sequence[ProviderEvent]) -> list[UUID]:
    """Whose each event is: our own reference says it, else the address it was sent to, else the default tenant."""
    addresses = {event.recipient for event in events if isinstance(event, InboundMessage)}
    owners: dict[str, UUID] = {}
    if addresses:
        async with database.transaction() as connection:
            found = await connection.execute(_OWNERS, {"integration": integration, "addresses": list(addresses)})
            owners = {row.address: row.tenant_id for row in found}
    return [_owner(event, owners) for event in events]


def _owner(event: ProviderEvent, owners: dict[str, UUID]) -> UUID:
    if isinstance(event, InboundMessage):
        return owners.get(event.recipient, DEFAULT_TENANT)
    reference = _reference(event)
    return reference.tenant_id if reference else DEFAULT_TENANT


def _reference(event: ProviderEvent) -> Reference | None:
    return event.reference if isinstance(event, StatusReport | OtherEvent) else None


def _row(sealer: Sealer, integration: str, told: _OwnedEvent) -> dict[str, object]:
    tenant, event = told.owner, told.event
    row, reference = uuid7(), _reference(event)
    return {
        "tenant_id": tenant,
        "id": row,
        "integration": integration,
        # An id that spells a person's number is told apart as well by a hash, which stays when the person goes.
        "dedupe_key": pseudonym(sealer, event.dedupe_key),
        "event_type": event.event_type,
        "message_id": reference.message_id if reference else None,
        "event_sealed": sealer.seal(event_to_json(event), tenant=tenant, row=row, column="event"),
        "raw_sealed": sealer.seal(event.raw, tenant=tenant, row=row, column="raw"),
    }


_READABLE = text(is_readable("inbox.event_sealed")).bindparams(bindparam("keys", type_=ARRAY(LargeBinary)))


def _is_readable_by(sealer: Sealer) -> TextClause:
    """SQL: whether this process has the key of an event."""
    return _READABLE.bindparams(keys=sealer.encoded_names)


@dataclass(frozen=True, slots=True)
class InboxEvent:
    """An event waiting to be applied."""

    place: InboxKey
    integration: str
    event: ProviderEvent


async def claim_due_events(connection: AsyncConnection, sealer: Sealer, *, limit: int = 200) -> list[InboxEvent]:
    """Lock due events until the end of the transaction; one that cannot be read is left out, and for later.

    One whose key is missing here is not looked at, so that no try of it is counted.
    """
    rows = await connection.execute(
        select(inbox)
        .where(
            inbox.c.status == WebhookStatus.RECEIVED.value,
            inbox.c.due_at <= func.now(),
            # What another process sealed with a key that this one lacks waits for one that has it.
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
            taken.append(InboxEvent(place, row.integration, event_from_json(opened)))
        except SealBroken:
            unreadable[place] = "cannot be read back: is its key still among ENCRYPTION_KEYS?"
        except Exception:
            # Whatever an earlier or later version wrote there: its neighbours go on.
            log.exception("inbox_unreadable", inbox_id=str(row.id))
            unreadable[place] = "cannot be read back: another version wrote it down"
    await retry_later(connection, unreadable)
    return taken
