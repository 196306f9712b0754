"""Templates and their variables, and reading them."""

from datetime import datetime
from uuid import UUID

import strawberry

from core.characters import check_text
from core.pagination import PageRequest
from core.ports import Channel, TemplateApproval, TemplateCategory
from core.ports.identity import Scope
from core.templates import queries, tables
from core.templates.filling import variables_of
from resolvers.context import Info
from resolvers.fields import Node, computed, given
from resolvers.global_ids import to_global_id, uuid_of
from resolvers.pagination import PageInfo, bad_cursor, page_arguments
from resolvers.scalars import Locale


@strawberry.type(description="One variable of a template.")
class TemplateVariable:
    name: str
    is_required: bool = strawberry.field(description="Whether a value is required: it is, if there is no default.")
    example: str | None


@strawberry.type(
    description="A message template: a text with variables. It is our own, or the channel's provider stores it."
)
class Template(Node):
    row: strawberry.Private[tables.Template]
    name: str
    channel: Channel
    locale: Locale
    category: TemplateCategory
    approval: TemplateApproval
    subject: str | None
    body: str
    created_at: datetime
    updated_at: datetime

    @computed("All variables of the template, each once.")
    def variables(self) -> list[TemplateVariable]:
        return [
            TemplateVariable(name=one.name, is_required=one.is_required, example=one.example)
            for one in variables_of(self.row)
        ]


def template_of(row: tables.Template) -> Template:
    """A template as clients see it."""
    return Template(
        id=to_global_id("Template", row.id.bytes),
        row=row,
        name=row.name,
        channel=row.channel,
        locale=Locale(row.locale),
        category=row.category,
        approval=row.approval,
        subject=row.subject,
        body=row.body,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )


# Reading templates.


_CURSOR = "TemplateCursor"


@strawberry.input(
    description="All given conditions must match. A list matches if one of its values does; an empty list never does."
)
class TemplateFilter:
    channels: list[Channel] | None = strawberry.UNSET
    approvals: list[TemplateApproval] | None = strawberry.UNSET
    search: str | None = strawberry.field(
        default=strawberry.UNSET, description="Part of its name or text. Upper and lower case are the same."
    )


@strawberry.type(description="One template of a page, and its cursor.")
class TemplateEdge:
    cursor: str
    node: Template


@strawberry.type(description="One page of templates.")
class TemplateConnection:
    edges: list[TemplateEdge]
    nodes: list[Template]
    page_info: PageInfo


async def template_by_id(info: Info, template_id: UUID) -> Template | None:
    """A template of the caller's tenant; None when it has none of that id."""
    info.context.require(Scope.MESSAGES_READ)
    found = await info.context.templates.load(template_id)
    return None if found is None else template_of(found)


async def get_template(info: Info, id: strawberry.ID) -> Template | None:
    info.context.require(Scope.MESSAGES_READ)
    template_id = uuid_of(id, "Template")
    return None if template_id is None else await template_by_id(info, template_id)


async def list_templates(
    info: Info,
    first: int | None = strawberry.UNSET,
    after: str | None = strawberry.UNSET,
    last: int | None = strawberry.UNSET,
    before: str | None = strawberry.UNSET,
    filter: TemplateFilter | None = strawberry.UNSET,
) -> TemplateConnection:
    services, tenant = info.context.services, info.context.require(Scope.MESSAGES_READ).tenant_id
    page = page_arguments(given(first), given(last))
    which = PageRequest(page.limit, _read(given(after), "after"), _read(given(before), "before"), page.is_backward)
    condition = _condition(given(filter) or TemplateFilter())
    async with services.database.transaction(tenant) as connection:
        found = await queries.templates_page(connection, tenant, which, condition)
    edges = [TemplateEdge(cursor=_write(row.id), node=template_of(row)) for row in found.items]
    has_cursor = (which.before if page.is_backward else which.after) is not None
    page_info = page.page_info([edge.cursor for edge in edges], has_more=found.has_more, has_cursor=has_cursor)
    return TemplateConnection(edges=edges, nodes=[edge.node for edge in edges], page_info=page_info)


def _condition(filter: TemplateFilter) -> queries.TemplateFilter:
    check_text(given(filter.search) or "", ["filter", "search"])
    return queries.TemplateFilter(
        channels=given(filter.channels), approvals=given(filter.approvals), search=given(filter.search)
    )


def _write(template_id: UUID) -> str:
    return to_global_id(_CURSOR, template_id.bytes)


def _read(cursor: str | None, name: str) -> UUID | None:
    if cursor is None:
        return None
    found = uuid_of(cursor, _CURSOR)
    if found is None:
        raise bad_cursor(name)
    return found
