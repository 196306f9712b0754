"""Webhooks in GraphQL, and the object that a record is about."""

from collections.abc import Collection
from datetime import datetime
from uuid import UUID

import strawberry

from core.inbox import queries
from core.inbox.tables import WebhookStatus
from core.masking import mask_id
from core.ports.identity import Scope
from resolvers.context import Info
from resolvers.fields import Node, computed, given
from resolvers.global_ids import to_global_id
from resolvers.inputs import TimeRangeInput, names_of, span_of
from resolvers.integrations import Integration, IntegrationKind, integration_of
from resolvers.pagination import PageInfo, page_info_of, slice_of, write_cursor
from resolvers.scalars import JSON
from resolvers.subjects import Subject, subject_asked_for, subject_of

# Webhooks from providers.


_CURSOR = "WebhookDeliveryCursor"


@strawberry.type(description="A webhook event from a provider.")
class WebhookDelivery(Node):
    row: strawberry.Private[queries.Webhook]
    integration: Integration
    event_type: str = strawberry.field(description="The provider's name of the event: `delivered`.")
    provider_event_id: str = strawberry.field(
        description=(
            "The provider's id of the event, or a hash if the id contains a person's number. A repeated event is "
            "stored once."
        )
    )
    status: WebhookStatus
    error: str | None = strawberry.field(description="Why it was not processed, or not processed yet.")
    attempts: int
    received_at: datetime
    processed_at: datetime | None

    @computed("The message that it changed.")
    async def subject(self, info: Info) -> Subject | None:
        return await subject_of(info, self.row.subject)

    @computed(
        "What the provider sent: codes, ids, states and times; everything else is masked. Null after it was erased."
    )
    async def payload(self, info: Info) -> JSON | None:
        found = await info.context.payloads.load(self.row.id)
        return None if found is None else JSON(found)


@strawberry.type(description="One webhook of a page, and its cursor.")
class WebhookDeliveryEdge:
    cursor: str
    node: WebhookDelivery


@strawberry.type(description="One page of webhooks.")
class WebhookDeliveryConnection:
    edges: list[WebhookDeliveryEdge]
    nodes: list[WebhookDelivery]
    page_info: PageInfo


@strawberry.input(
    description="All given conditions must match. A list matches if one of its values does; an empty list never does."
)
class WebhookDeliveryFilter:
    integrations: list[IntegrationKind] | None = strawberry.UNSET
    statuses: list[WebhookStatus] | None = strawberry.UNSET
    event_type: str | None = strawberry.UNSET
    subject_id: strawberry.ID | None = strawberry.field(
        default=strawberry.UNSET, description="Only webhooks about this message."
    )
    received: TimeRangeInput | None = strawberry.UNSET


def webhook_of(info: Info, row: queries.Webhook) -> WebhookDelivery:
    """A webhook as clients see it."""
    return WebhookDelivery(
        id=to_global_id("WebhookDelivery", row.id.bytes),
        row=row,
        integration=integration_of(info, row.integration),
        event_type=row.event_type,
        provider_event_id=mask_id(row.dedupe_key),
        status=row.status,
        error=row.error,
        attempts=row.attempts,
        received_at=row.received_at,
        processed_at=row.processed_at,
    )


async def webhooks_by_id(info: Info, tenant: UUID, ids: Collection[UUID]) -> dict[UUID, WebhookDelivery]:
    """Webhooks of a tenant; those it does not have are left out."""
    async with info.context.services.database.transaction(tenant) as connection:
        found = await queries.webhooks_by_id(connection, tenant, ids)
    return {one: webhook_of(info, row) for one, row in found.items()}


async def webhook_by_id(info: Info, tenant: UUID, webhook_id: UUID) -> WebhookDelivery | None:
    return (await webhooks_by_id(info, tenant, [webhook_id])).get(webhook_id)


async def list_webhooks(
    info: Info,
    first: int | None = strawberry.UNSET,
    after: str | None = strawberry.UNSET,
    last: int | None = strawberry.UNSET,
    before: str | None = strawberry.UNSET,
    filter: WebhookDeliveryFilter | None = strawberry.UNSET,
) -> WebhookDeliveryConnection:
    tenant = info.context.require(Scope.OPERATIONS_READ).tenant_id
    which, condition = slice_of(first, after, last, before, _CURSOR), _condition(given(filter))
    async with info.context.services.database.transaction(tenant) as connection:
        rows, has_more = await queries.webhooks_page(connection, tenant, which, condition)
    edges = [WebhookDeliveryEdge(cursor=write_cursor(_CURSOR, row.id), node=webhook_of(info, row)) for row in rows]
    page_info = page_info_of(which, [edge.cursor for edge in edges], has_more=has_more)
    return WebhookDeliveryConnection(edges=edges, nodes=[edge.node for edge in edges], page_info=page_info)


def _condition(filter: WebhookDeliveryFilter | None) -> queries.WebhookFilter:
    filter = filter or WebhookDeliveryFilter()
    return queries.WebhookFilter(
        integrations=names_of(given(filter.integrations)),
        statuses=given(filter.statuses),
        event_type=given(filter.event_type),
        subject=subject_asked_for(given(filter.subject_id)),
        received=span_of(given(filter.received), ["filter", "received"]),
    )
