"""The audit log in GraphQL."""

from collections.abc import Collection, Mapping
from datetime import datetime
from uuid import UUID

import strawberry

from core.audit.act import ActOutcome
from core.operations import audit_log
from core.pagination import time_range
from core.ports.identity import ActorKind, Scope
from resolvers.context import Info
from resolvers.fields import Node, given
from resolvers.global_ids import target_id, target_of, to_global_id
from resolvers.pagination import PageInfo, page_info_of, slice_of, write_cursor

_CURSOR = "AuditEventCursor"
# The id of no object: a filter with it finds nothing.
_NOTHING = ("Nothing", "nothing")


@strawberry.type(description="One action in the audit log. An action on several objects has one event for each object.")
class AuditEvent(Node):
    at: datetime
    actor: str = strawberry.field(description="The caller, as its credentials name it: a user id or the name of a key.")
    on_behalf: str | None = strawberry.field(
        description="The person who acted in the actor's name (impersonation), if any."
    )
    kind: ActorKind
    action: str = strawberry.field(description="The name of the mutation or command: `cancelMessage`, `keys rotate`.")
    target_type: str | None = strawberry.field(description="The type of the changed object: `Message`.")
    target_id: strawberry.ID | None = strawberry.field(description="The id of the changed object, for `node(id:)`.")
    request_id: str | None = strawberry.field(description="The id of the request, as in the header `X-Request-Id`.")
    outcome: ActOutcome
    code: str | None = strawberry.field(
        description="The error code that the caller received: `PHONE_INVALID`, `FORBIDDEN`."
    )


@strawberry.type(description="One audit event of a page, and its cursor.")
class AuditEventEdge:
    cursor: str
    node: AuditEvent


@strawberry.type(description="One page of the audit log.")
class AuditEventConnection:
    edges: list[AuditEventEdge]
    nodes: list[AuditEvent]
    page_info: PageInfo


@strawberry.input(description="All given conditions must match.")
class AuditEventFilter:
    action: str | None = strawberry.UNSET
    actor: str | None = strawberry.UNSET
    target_id: strawberry.ID | None = strawberry.field(
        default=strawberry.UNSET, description="Actions, and refused attempts, on this object."
    )
    since: datetime | None = strawberry.field(default=strawberry.UNSET, description="At or after this time.")
    until: datetime | None = strawberry.field(default=strawberry.UNSET, description="Before this time.")


def audit_event_of(row: audit_log.AuditEvent) -> AuditEvent:
    """An event as clients see it."""
    return AuditEvent(
        id=to_global_id("AuditEvent", row.id.bytes),
        at=row.at,
        actor=row.actor,
        on_behalf=row.on_behalf,
        kind=row.kind,
        action=row.action,
        target_type=row.target_type,
        target_id=target_id(row.target_type, row.target_id),
        request_id=row.request_id,
        outcome=row.outcome,
        code=row.code,
    )


async def audit_events_by_id(info: Info, ids: Collection[UUID]) -> Mapping[UUID, AuditEvent]:
    """Events of the caller's tenant; no others."""
    tenant = info.context.require(Scope.OPERATIONS_READ).tenant_id
    async with info.context.services.database.transaction(tenant) as connection:
        found = await audit_log.audit_events_by_id(connection, tenant, ids)
    return {one: audit_event_of(row) for one, row in found.items()}


async def list_audit_events(
    info: Info,
    first: int | None = strawberry.UNSET,
    after: str | None = strawberry.UNSET,
    last: int | None = strawberry.UNSET,
    before: str | None = strawberry.UNSET,
    filter: AuditEventFilter | None = strawberry.UNSET,
) -> AuditEventConnection:
    tenant = info.context.require(Scope.OPERATIONS_READ).tenant_id
    which, condition = slice_of(first, after, last, before, _CURSOR), _condition(given(filter))
    async with info.context.services.database.transaction(tenant) as connection:
        rows, has_more = await audit_log.audit_events_page(connection, tenant, which, condition)
    edges = [AuditEventEdge(cursor=write_cursor(_CURSOR, row.id), node=audit_event_of(row)) for row in rows]
    page_info = page_info_of(which, [edge.cursor for edge in edges], has_more=has_more)
    return AuditEventConnection(edges=edges, nodes=[edge.node for edge in edges], page_info=page_info)


def _condition(filter: AuditEventFilter | None) -> audit_log.AuditFilter:
    filter = filter or AuditEventFilter()
    return audit_log.AuditFilter(
        action=given(filter.action),
        actor=given(filter.actor),
        target=_target(given(filter.target_id)),
        span=time_range(given(filter.since), given(filter.until), ["filter", "until"]),
    )


def _target(id: strawberry.ID | None) -> tuple[str, str] | None:
    if id is None:
        return None
    type_name, key = target_of(id)
    return _NOTHING if type_name is None or key is None else (type_name, key)
