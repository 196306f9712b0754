"""What drafts refer to, read at once for all of them: the templates they use, the messages they answer."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from sqlalchemy import select

from core.database import Database
from core.messages.draft import Draft
from core.messages.tables import messages
from core.templates import read as templates
from core.templates.values import Template, TemplateUse


@dataclass(frozen=True, slots=True)
class Known:
    """The templates and messages of one tenant that drafts name; what is missing does not exist for it."""

    templates: Mapping[UUID, Template] = field(default_factory=dict)
    messages: Collection[UUID] = frozenset()


async def look_up(database: Database, tenant: UUID, drafts: Sequence[Draft]) -> Known:
    """Read what drafts refer to, in two statements at the most and in none where they refer to nothing.

    Raises Overloaded.
    """
    used = {one.content.id for one in drafts if isinstance(one.content, TemplateUse) and one.content.id is not None}
    answered = {one.in_reply_to.id for one in drafts if one.in_reply_to is not None and one.in_reply_to.id is not None}
    if not used and not answered:
        return Known()
    async with database.transaction(tenant) as connection:
        found = await templates.by_ids(connection, tenant, list(used)) if used else {}
        rows = await connection.execute(
            select(messages.c.id).where(messages.c.tenant_id == tenant, messages.c.id.in_(answered))
        )
        return Known(found, {row.id for row in rows})
