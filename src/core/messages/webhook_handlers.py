"""Applying events of the inbox: reports move messages forward, and what people write to us becomes a message."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import CTE, ColumnElement, Table, literal, or_, select, union_all
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql.dml import ReturningInsert

from core.addresses import known_address, lookup_form
from core.messages.claim import text_value
from core.messages.provider_ids import (
    AttemptKey,
    ProviderName,
    clear_forms,
    holders_of,
    holds,
    lookups,
    seal_for_attempt,
    seal_for_message,
    withdraw_id,
)
from core.messages.record import EventRecord, MessageKey, lock_states, write_transitions
from core.messages.state_machine import Attempt, MessageState, after_report
from core.messages.status import Direction, EventSource, MessageStatus, make_step, route_to_json
from core.messages.tables import attempts, message_events, messages
from core.nouns import EventOutcomes, InboxEvent, InboxKey, SubjectKey
from core.ports import InboundMessage, ReportedStatus, StatusReport, TextContent
from core.ports.content import content_to_json
from core.ports.sending import MESSAGE
from core.pubsub import Change
from core.sealing import Sealer

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class EventBatch:
    """The results of the events that are applied together.

    `holders` says which attempts hold the ids that the reports name; `states` where all these messages stand.
    """

    sealer: Sealer
    holders: Mapping[ProviderName, AttemptKey] = field(default_factory=dict)
    states: dict[MessageKey, MessageState] = field(default_factory=dict)
    records: list[EventRecord] = field(default_factory=list)
    outcomes: EventOutcomes = field(default_factory=EventOutcomes)


async def apply_events(connection: AsyncConnection, sealer: Sealer, taken: Sequence[InboxEvent]) -> EventOutcomes:
    """Apply reports and inbound messages in the caller's transaction."""
    reports = [(kept, kept.event) for kept in taken if isinstance(kept.event, StatusReport)]
    batch = EventBatch(sealer, await _holders(connection, sealer, reports))
    about = _attempts_of(reports, batch.holders)
    touched = {one.key for one in about.values()} | {one.key for one in batch.holders.values()}
    batch.states = await lock_states(connection, touched) if touched else {}
    outcomes = batch.outcomes
    for kept in taken:
        match kept.event:
            case StatusReport():
                _apply_report(batch, kept, kept.event, about.get(kept.place))
            case InboundMessage():
                outcomes.changes += await insert_inbound(connection, sealer, kept.place, kept.integration, kept.event)
                outcomes.processed[kept.place] = SubjectKey(MESSAGE, kept.place.id)
    if batch.records:
        outcomes.changes += await write_transitions(connection, batch.records)
    return outcomes


async def _holders(
    connection: AsyncConnection, sealer: Sealer, reports: Sequence[tuple[InboxEvent, StatusReport]]
) -> dict[ProviderName, AttemptKey]:
    """The attempts that hold the ids which reports name."""
    named = {(kept.integration, report.provider_message_id) for kept, report in reports if report.provider_message_id}
    return await holders_of(connection, sealer, named)


def _attempts_of(
    reports: Sequence[tuple[InboxEvent, StatusReport]], holders: Mapping[ProviderName, AttemptKey]
) -> dict[InboxKey, AttemptKey]:
    """Find the attempts that reports are about: by our own reference, else by the provider's id."""
    about: dict[InboxKey, AttemptKey] = {}
    for kept, report in reports:
        if (ref := report.reference) is not None:
            about[kept.place] = AttemptKey(MessageKey(ref.tenant_id, ref.message_id), ref.attempt)
        elif found := holders.get((kept.integration, report.provider_message_id or "")):
            about[kept.place] = found
    return about


def _apply_report(batch: EventBatch, kept: InboxEvent, report: StatusReport, about: AttemptKey | None) -> None:
    state = batch.states.get(about.key) if about else None
    if about is None or state is None or about.attempt not in state.attempts:
        # It may have arrived before our own commit, or be about a message that is not ours.
        batch.outcomes.unknown.append(kept.place)
        if report.reference is not None:
            batch.outcomes.names_ours.add(kept.place)
        return
    if state.is_erased:
        batch.outcomes.forgotten.append(kept.place)
    id = report.provider_message_id
    if id and report.reference is not None and not _correct_owner(batch, kept, id, about):
        id = None
    _record_report(batch, kept, report, about, None if state.is_erased else id)
    # The webhook's row can refer to a message of its own tenant only.
    is_same_tenant = about.key.tenant_id == kept.place.tenant_id
    if not is_same_tenant:
        # It was stored for this tenant because it did not name one; data of another tenant's customer is erased here.
        batch.outcomes.forgotten.append(kept.place)
    changed = SubjectKey(MESSAGE, about.key.message_id) if is_same_tenant else None
    batch.outcomes.processed[kept.place] = changed


def _record_report(
    batch: EventBatch, kept: InboxEvent, report: StatusReport, about: AttemptKey, id: str | None
) -> None:
    state = batch.states[about.key]
    named = None if id is None else seal_for_attempt(batch.sealer, *about.key, about.attempt, id)
    transition = after_report(state, about.attempt, report.status, report.failure, named)
    detail = f"{kept.integration} reports {report.event_type}"
    if report.failure is not None and report.failure.provider_code:
        detail += f" ({report.failure.provider_code})"
    batch.records.append(
        EventRecord(
            key=about.key,
            before=state,
            transition=transition,
            attempt=about.attempt,
            source=EventSource.WEBHOOK,
            integration=kept.integration,
            detail=detail if transition else f"{detail}: noted, nothing new",
        )
    )
    if transition is not None:
        batch.states[about.key] = transition.state


def _correct_owner(batch: EventBatch, kept: InboxEvent, id: str, about: AttemptKey) -> bool:
    """Give an id to the attempt that a signed report names, if it was assigned to another one from a list.

    Returns whether it may keep the id: not where another attempt holds it for certain.
    """
    mine = batch.states[about.key].attempts[about.attempt]
    if mine.is_from_list and not holds(batch.sealer, mine, id):
        # The record it was assigned from the list is another attempt's: its own id is this one.
        _withdraw(batch, about, kept.integration)
    holder = batch.holders.get((kept.integration, id), about)
    if holder == about:
        return True
    state = batch.states.get(holder.key)
    held = None if state is None else state.attempts.get(holder.attempt)
    if held is None or not holds(batch.sealer, held, id):
        return True
    if not held.is_from_list:
        log.error("provider_id_is_not_unique", integration=kept.integration, message_id=str(about.key.message_id))
        return False
    _withdraw(batch, holder, kept.integration)
    _transfer_rank(batch, about, held, kept.integration, id)
    return True


def _withdraw(batch: EventBatch, holder: AttemptKey, integration: str) -> None:
    if (records := withdraw_id(batch.states, holder, integration, EventSource.WEBHOOK)) is not None:
        batch.records.append(records)


def _transfer_rank(batch: EventBatch, about: AttemptKey, held: Attempt, integration: str, id: str) -> None:
    """Apply to this attempt what was known of the id under another message."""
    status = next((one for one in ReportedStatus if one.rank == held.rank), None)
    state = batch.states[about.key]
    named = None if state.is_erased else seal_for_attempt(batch.sealer, *about.key, about.attempt, id)
    transition = None if status is None else after_report(state, about.attempt, status, held.failure, named)
    if transition is None:
        return
    batch.states[about.key] = transition.state
    batch.records.append(
        EventRecord(
            key=about.key,
            before=state,
            transition=transition,
            attempt=about.attempt,
            source=EventSource.WEBHOOK,
            integration=integration,
            detail=f"{integration} says that a record found in its list is this message's",
        )
    )


# ─── Inbound messages ─────────────────────────────────────────────────────


async def insert_inbound(
    connection: AsyncConnection, sealer: Sealer, place: InboxKey, integration: str, event: InboundMessage
) -> list[Change]:
    """Store an inbound message for the tenant that owns the address it was sent to.

    The message's id is that of its webhook: processed a second time, it changes nothing.
    """
    tenant_id, row = place
    ours, theirs = known_address(event.recipient), known_address(event.sender)
    named = seal_for_message(sealer, tenant_id, row, event.provider_message_id)
    content = content_to_json(TextContent(event.text or ""))
    message = (
        insert(messages)
        .on_conflict_do_nothing()
        .returning(messages.c.id)
        .values(
            tenant_id=tenant_id,
            id=row,
            direction=Direction.INBOUND.value,
            status=MessageStatus.DELIVERED.value,
            channel=event.channel.value,
            route=route_to_json([make_step(event.channel)]),
            to_sealed=sealer.seal(ours.value, tenant=tenant_id, row=row, column="to"),
            to_masked=ours.masked,
            to_hash=sealer.lookup_hash(lookup_form(ours.value), tenant=tenant_id),
            from_sealed=sealer.seal(theirs.value, tenant=tenant_id, row=row, column="from"),
            from_masked=theirs.masked,
            from_hash=sealer.lookup_hash(lookup_form(theirs.value), tenant=tenant_id),
            content_sealed=sealer.seal(content, tenant=tenant_id, row=row, column="content"),
            in_reply_to=await find_answered(connection, sealer, tenant_id, integration, event.in_reply_to),
            integration=integration,
            provider_id_sealed=named.sealed,
            provider_id_lookup=named.lookup,
            provider_message_id=named.clear,
            delivered_at=event.occurred_at,
        )
    )
    rows = await connection.execute(_inbound_event(message.cte("message"), place, event))
    return [Change(tenant_id, row.message_id) for row in rows]


def _inbound_event(arrived: CTE, place: InboxKey, event: InboundMessage) -> ReturningInsert[Any]:
    """The event of a message that is new; none for one that was stored before."""
    logged = {
        "tenant_id": literal(place.tenant_id),
        "message_id": arrived.c.id,
        "status": text_value(MessageStatus.DELIVERED.value),
        "channel": text_value(event.channel.value),
        "detail": text_value(event.event_type),
        "source": text_value(EventSource.WEBHOOK.value),
    }
    chosen = select(*logged.values()).select_from(arrived)
    return insert(message_events).from_select(list(logged), chosen).returning(message_events.c.message_id)


async def find_answered(
    connection: AsyncConnection, sealer: Sealer, tenant_id: UUID, integration: str, id: str | None
) -> UUID | None:
    """Find the tenant's message, inbound or outbound, that a provider knows by an id."""
    if not id:
        return None
    ours = select(attempts.c.message_id).where(
        attempts.c.tenant_id == tenant_id, attempts.c.integration == integration, _is_named(attempts, sealer, id)
    )
    theirs = select(messages.c.id).where(
        messages.c.tenant_id == tenant_id, messages.c.integration == integration, _is_named(messages, sealer, id)
    )
    found: UUID | None = (await connection.execute(union_all(ours, theirs).limit(1))).scalar()
    return found


def _is_named(table: Table, sealer: Sealer, id: str) -> ColumnElement[bool]:
    return or_(
        table.c.provider_id_lookup.in_(lookups(sealer, id)), table.c.provider_message_id.in_(clear_forms(sealer, id))
    )
