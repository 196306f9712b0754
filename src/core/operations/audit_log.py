"""Reading the audit log, where a message is the event of its own sending; and recording commands for all tenants."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row, Select, String, Text, cast, literal, null, select, union_all
from sqlalchemy.ext.asyncio import AsyncConnection

from core.access.tables import tenants
from core.audit.act import SENDS, Act, ActOutcome, Author, audit_events
from core.database import Database
from core.messages.tables import messages
from core.pagination import PageRequest, TimeRange, in_range, on_page, read_page, storable
from core.ports.identity import ActorKind

MESSAGE = "Message"


@dataclass(frozen=True, slots=True)
class AuditEvent:
    """Who did what to which object, and whether it was done."""

    id: UUID
    at: datetime
    actor: str
    on_behalf: str | None
    kind: ActorKind
    action: str
    target_type: str | None
    target_id: str | None
    request_id: str | None
    outcome: ActOutcome
    code: str | None


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """All given conditions must hold; `target` is a type and a key."""

    action: str | None = None
    actor: str | None = None
    target: tuple[str, str] | None = None
    span: TimeRange = field(default_factory=TimeRange)


async def audit_events_page(
    connection: AsyncConnection, tenant: UUID, which: PageRequest, condition: AuditFilter
) -> tuple[Sequence[AuditEvent], bool]:
    """Read one page of a tenant's audit log, newest first, and whether there is more."""
    # Each is limited by its own index; else PostgreSQL would read both to their ends, and sort.
    legs = [on_page(_written(tenant, condition), audit_events.c.id, which)]
    if condition.action is None or condition.action in SENDS:
        legs.append(on_page(_sent(tenant, condition), messages.c.id, which))
    both = union_all(*(select(leg.subquery()) for leg in legs)).subquery("event")
    rows, has_more = await read_page(connection, select(both), both.c.id, which)
    return [_event(row) for row in rows], has_more


async def audit_events_by_id(
    connection: AsyncConnection, tenant: UUID, ids: Collection[UUID]
) -> dict[UUID, AuditEvent]:
    """Read events by their ids; those the tenant does not have are left out."""
    written = _written(tenant, AuditFilter()).where(audit_events.c.id.in_(list(ids)))
    sent = _sent(tenant, AuditFilter()).where(messages.c.id.in_(list(ids)))
    return {row.id: _event(row) for row in await connection.execute(union_all(written, sent))}


def _written(tenant: UUID, condition: AuditFilter) -> Select[Any]:
    events = audit_events.c
    statement = select(*(column for column in events if column.name != "tenant_id")).where(events.tenant_id == tenant)
    if condition.action is not None:
        statement = statement.where(events.action.in_(storable([condition.action])))
    if condition.actor is not None:
        statement = statement.where(events.actor.in_(storable([condition.actor])))
    if condition.target is not None:
        type_, key = condition.target
        statement = statement.where(events.target_type == type_, events.target_id == key)
    return in_range(statement, condition.span, events.at, events.id)


def _sent(tenant: UUID, condition: AuditFilter) -> Select[Any]:
    """The columns of an event, in its order, out of a message that says who made it."""
    made = messages.c.made_by
    statement = select(
        messages.c.id,
        messages.c.created_at.label("at"),
        made["actor"].astext.label("actor"),
        made["onBehalf"].astext.label("on_behalf"),
        made["kind"].astext.label("kind"),
        made["action"].astext.label("action"),
        cast(literal(MESSAGE), Text).label("target_type"),
        cast(messages.c.id, String).label("target_id"),
        made["requestId"].astext.label("request_id"),
        cast(literal(ActOutcome.DONE.value), Text).label("outcome"),
        cast(null(), Text).label("code"),
    ).where(messages.c.tenant_id == tenant, made.is_not(None))
    if condition.action is not None:
        statement = statement.where(made["action"].astext == condition.action)
    if condition.actor is not None:
        statement = statement.where(made["actor"].astext.in_(storable([condition.actor])))
    if condition.target is not None:
        statement = statement.where(messages.c.id == _message(condition.target))
    return in_range(statement, condition.span, messages.c.created_at, messages.c.id)


def _message(target: tuple[str, str]) -> UUID:
    """The id of the message that a target names; for another type an id that no message has."""
    type_, key = target
    return UUID(key) if type_ == MESSAGE else UUID(int=0)


def _event(row: Row[Any]) -> AuditEvent:
    return AuditEvent(
        id=row.id,
        at=row.at,
        actor=row.actor,
        on_behalf=row.on_behalf,
        kind=ActorKind(row.kind),
        action=row.action,
        target_type=row.target_type,
        target_id=row.target_id,
        request_id=row.request_id,
        outcome=ActOutcome(row.outcome),
        code=row.code,
    )


COMMAND = "interalpha"
"""The actor of commands in the audit log."""


async def record_for_all_tenants(database: Database, action: str) -> None:
    """Record an event for every tenant: a command acts on the data of all. Needs a worker's rights."""
    async with database.transaction() as connection:
        for tenant in (await connection.execute(select(tenants.c.id))).scalars().all():
            await Act(tenant, Author(COMMAND, ActorKind.CLI, action)).done(connection)
