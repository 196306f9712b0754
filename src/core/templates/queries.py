"""Reading templates: by id, by page. A template that its provider no longer lists is found by its id alone."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Row, case, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from core.pagination import PageRequest, read_page
from core.ports import Channel, TemplateApproval, TemplateButton, TemplateCategory
from core.templates.tables import Template, templates

COARSE_APPROVAL: Mapping[TemplateApproval, TemplateApproval] = {
    TemplateApproval.PAUSED: TemplateApproval.PENDING,
    TemplateApproval.DISABLED: TemplateApproval.REJECTED,
}
"""Newer approvals → what the column `approval` holds for them, for processes of versions that do not know them."""

_SHOWN = case(
    *(
        ((templates.c.approval_detail == detail.value) & (templates.c.approval == plain.value), detail.value)
        for detail, plain in COARSE_APPROVAL.items()
    ),
    else_=templates.c.approval,
)


def shown_approval(approval: str, detail: str | None) -> TemplateApproval:
    """The approval of a template; a detail that does not fit is outdated, since an earlier version wrote `approval`."""
    fitting = (found for found, plain in COARSE_APPROVAL.items() if (found, plain) == (detail, approval))
    return next(fitting, TemplateApproval(approval))


@dataclass(frozen=True, slots=True)
class TemplateFilter:
    """All given conditions must hold; a list holds when any of its values does. `search` looks at name and text."""

    channels: Sequence[Channel] | None = None
    approvals: Sequence[TemplateApproval] | None = None
    search: str | None = None


@dataclass(frozen=True, slots=True)
class TemplatePage:
    """Templates, newest first; `has_more` refers to the direction that was read."""

    items: Sequence[Template]
    has_more: bool


async def templates_by_id(connection: AsyncConnection, tenant: UUID, ids: Collection[UUID]) -> dict[UUID, Template]:
    """Read templates of a tenant by id; leaves out ids that it does not have."""
    rows = await connection.execute(
        select(templates).where(templates.c.tenant_id == tenant, templates.c.id.in_(set(ids)))
    )
    return {row.id: _template(row) for row in rows}


async def templates_page(
    connection: AsyncConnection, tenant: UUID, which: PageRequest, condition: TemplateFilter
) -> TemplatePage:
    """Read one page of a tenant's templates, newest first."""
    statement = select(templates).where(templates.c.tenant_id == tenant, templates.c.gone_at.is_(None))
    if condition.channels is not None:
        statement = statement.where(templates.c.channel.in_({channel.value for channel in condition.channels}))
    if condition.approvals is not None:
        statement = statement.where(_SHOWN.in_({approval.value for approval in condition.approvals}))
    if condition.search is not None:
        texts = (templates.c.name, templates.c.subject, templates.c.header, templates.c.body)
        statement = statement.where(or_(*(text.icontains(condition.search, autoescape=True) for text in texts)))
    rows, has_more = await read_page(connection, statement, templates.c.id, which)
    return TemplatePage([_template(row) for row in rows], has_more)


def _template(row: Row[Any]) -> Template:
    return Template(
        id=row.id,
        channel=Channel(row.channel),
        name=row.name,
        locale=row.locale,
        category=TemplateCategory(row.category),
        approval=shown_approval(row.approval, row.approval_detail),
        body=row.body,
        subject=row.subject,
        header=row.header,
        html=row.html,
        buttons=tuple(TemplateButton(one["index"], one["kind"], one["text"]) for one in row.buttons),
        examples=row.examples,
        integration=row.integration,
        created_at=row.created_at,
        updated_at=row.updated_at,
        gone_at=row.gone_at,
    )
