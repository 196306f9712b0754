"""A template and its gaps."""

from datetime import datetime

import strawberry

from core.ports import Channel, TemplateApproval, TemplateCategory
from core.templates import values
from core.templates.filling import variables_of
from resolvers.fields import Node, computed
from resolvers.global_ids import to_global_id
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
    row: strawberry.Private[values.Template]
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


def template_of(row: values.Template) -> Template:
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
