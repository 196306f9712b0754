"""Dead letters in GraphQL."""

from datetime import datetime
from uuid import UUID

import strawberry

from core.dead_letters import store
from core.dead_letters.store import Resolution
from core.ports.identity import Scope
from resolvers.context import Info
from resolvers.fields import Node, computed, given
from resolvers.global_ids import to_global_id
from resolvers.inputs import TimeRangeInput, names_of, span_of
from resolvers.integrations import Integration, IntegrationKind, integration_of
from resolvers.pagination import PageInfo, page_info_of, slice_of, write_cursor
from resolvers.scalars import JSON
from resolvers.subjects import Subject, subject_asked_for, subject_of

_CURSOR = "DeadLetterCursor"


@strawberry.type(description="A dead letter: work that failed for good.")
class DeadLetter(Node):
    row: strawberry.Private[store.DeadLetter]
    kind: str = strawberry.field(description="The kind of work: `message.send`, `webhook.apply`.")
    integration: Integration | None
    error: str
    attempts: int
    failed_at: datetime
    resolution: Resolution | None = strawberry.field(description="The decision. Null while there is none.")

    @computed("The message that the work belongs to.")
    async def subject(self, info: Info) -> Subject | None:
        return await subject_of(info, self.row.subject)

    @computed("The provider's webhook, redacted, if the work was to process one.")
    async def payload(self, info: Info) -> JSON | None:
        found = await info.context.payloads.load(self.row.inbox_id) if self.row.inbox_id else None
        return None if found is None else JSON(found)


@strawberry.type(description="One dead letter of a page, and its cursor.")
class DeadLetterEdge:
    cursor: str
    node: DeadLetter


@strawberry.type(description="One page of dead letters.")
class DeadLetterConnection:
    condition: strawberry.Private[store.DeadLetterFilter]
    edges: list[DeadLetterEdge]
    nodes: list[DeadLetter]
    page_info: PageInfo

    @computed(
        "The number of dead letters that match the filter. It needs a count in the database: request it only if "
        "you show it."
    )
    async def total_count(self, info: Info) -> int:
        tenant = info.context.require(Scope.OPERATIONS_READ).tenant_id
        async with info.context.services.database.transaction(tenant) as connection:
            return await store.count_dead_letters(connection, tenant, self.condition)


@strawberry.input(
    description="All given conditions must match. A list matches if one of its values does; an empty list never does."
)
class DeadLetterFilter:
    integrations: list[IntegrationKind] | None = strawberry.UNSET
    kinds: list[str] | None = strawberry.UNSET
    subject_id: strawberry.ID | None = strawberry.field(
        default=strawberry.UNSET, description="Only dead letters of this message."
    )
    is_resolved: bool = strawberry.field(
        default=False, description="True: dead letters with a decision, instead of those without one."
    )
    failed: TimeRangeInput | None = strawberry.UNSET


def dead_letter_of(info: Info, row: store.DeadLetter) -> DeadLetter:
    """A dead letter as clients see it."""
    return DeadLetter(
        id=to_global_id("DeadLetter", row.id.bytes),
        row=row,
        kind=row.kind,
        integration=integration_of(info, row.integration) if row.integration else None,
        error=row.error,
        attempts=row.attempts,
        failed_at=row.failed_at,
        resolution=row.resolution,
    )


async def dead_letters_by_id(info: Info, tenant: UUID, ids: list[UUID]) -> list[DeadLetter]:
    async with info.context.services.database.transaction(tenant) as connection:
        found = await store.dead_letters_by_id(connection, tenant, ids)
    return [dead_letter_of(info, found[one]) for one in ids if one in found]


async def list_dead_letters(
    info: Info,
    first: int | None = strawberry.UNSET,
    after: str | None = strawberry.UNSET,
    last: int | None = strawberry.UNSET,
    before: str | None = strawberry.UNSET,
    filter: DeadLetterFilter | None = strawberry.UNSET,
) -> DeadLetterConnection:
    tenant = info.context.require(Scope.OPERATIONS_READ).tenant_id
    which, condition = slice_of(first, after, last, before, _CURSOR), _condition(given(filter))
    async with info.context.services.database.transaction(tenant) as connection:
        rows, has_more = await store.dead_letters_page(connection, tenant, which, condition)
    edges = [DeadLetterEdge(cursor=write_cursor(_CURSOR, row.id), node=dead_letter_of(info, row)) for row in rows]
    page_info = page_info_of(which, [edge.cursor for edge in edges], has_more=has_more)
    nodes = [edge.node for edge in edges]
    return DeadLetterConnection(condition=condition, edges=edges, nodes=nodes, page_info=page_info)


def _condition(filter: DeadLetterFilter | None) -> store.DeadLetterFilter:
    filter = filter or DeadLetterFilter()
    return store.DeadLetterFilter(
        integrations=names_of(given(filter.integrations)),
        kinds=given(filter.kinds),
        subject=subject_asked_for(given(filter.subject_id)),
        is_resolved=filter.is_resolved,
        failed=span_of(given(filter.failed), ["filter", "failed"]),
    )
