"""What templates add to the schema."""

from collections.abc import Mapping, Sequence

import strawberry

from core.ports.identity import Scope
from resolvers.context import Info
from resolvers.fields import Node, guarded
from resolvers.global_ids import uuids
from resolvers.parts import SchemaPart
from resolvers.templates.types import Template, TemplateConnection, get_template, list_templates, template_of


@strawberry.type
class Queries:
    """Root fields of queries."""

    template: Template | None = guarded(
        get_template,
        Scope.MESSAGES_READ,
        "One template. Null if it does not exist or you may not see it.",
    )
    templates: TemplateConnection = guarded(
        list_templates,
        Scope.MESSAGES_READ,
        "Message templates, newest first: our own, and those that providers store.",
    )


async def _fetch_templates(info: Info, keys: Sequence[bytes]) -> Mapping[bytes, Node]:
    info.context.require(Scope.MESSAGES_READ)
    found = await info.context.templates.load_many(uuids(keys))
    return {row.id.bytes: template_of(row) for row in found if row is not None}


PART = SchemaPart(queries=Queries, types=[Template], nodes={"Template": _fetch_templates})
