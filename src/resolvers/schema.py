"""The schema: all entry points, and its printed form."""

from collections.abc import Sequence

import strawberry
from graphql import GraphQLInputObjectType, GraphQLSchema
from graphql.utilities.print_schema import print_schema_definition
from strawberry.schema import Schema
from strawberry.schema.schema_converter import GraphQLCoreConverter
from strawberry.tools import create_type
from strawberry.types import get_object_definition
from strawberry.types.base import StrawberryObjectDefinition
from strawberry.types.field import StrawberryField

from core.errors import BrokenContribution
from resolvers.audit import audit_mutations
from resolvers.building import build_by_plan
from resolvers.errors import (
    IdempotencyConflictError,
    IntegrationUnavailableError,
    InvalidInputError,
    InvalidStateError,
    NotFoundError,
    TemplateNotUsableError,
)
from resolvers.fields import Node, hold_to_scopes
from resolvers.nodes import get_node, get_nodes
from resolvers.parts import SchemaPart, all_parts
from resolvers.scalars import CONFIG
from resolvers.subjects import complete_union

INTRODUCTION = """\
One API for everything a business says, charges and schedules through external
providers. Today it sends WhatsApp texts and templates, SMS and e-mail, and reports
live what happens to them.

* Objects with an id implement `Node`: fetch one again with `node(id:)`.
* Every list that can grow is a connection. A page has 25 items unless `first`
  or `last` says otherwise, and at most 100.
* Errors that a person can fix are data: each mutation returns a payload with
  typed `errors`. The top-level `errors` are for bugs, limits and missing
  credentials; each has an `extensions.code`.
* Times are UTC. Enums may get new values: handle values that you do not know
  with a safe default."""


@strawberry.type
class _Nodes:
    node: Node | None = strawberry.field(
        resolver=get_node, description="Any object by its id. Null if it does not exist or you may not see it."
    )
    nodes: list[Node | None] = strawberry.field(
        resolver=get_nodes,
        description=(
            "Up to 100 objects by their ids, in the given order. Null for each that does not exist or that you may "
            "not see."
        ),
    )


_ROOTS = {
    "Query": "All queries.",
    "Mutation": "All mutations. Fields run one after another, in the order of the document.",
    "Subscription": "Over WebSocket (`graphql-transport-ws`) or Server-Sent Events.",
}


def build_schema() -> Schema:
    """Make the schema of what all folders contribute. Raises BrokenContribution."""
    parts = list(all_parts().values())
    complete_union()
    for part in parts:
        _extend(part)
    schema = Schema(
        query=_root("Query", [_Nodes, *(part.queries for part in parts)]),
        mutation=_root("Mutation", [part.mutations for part in parts]),
        subscription=_root("Subscription", [part.subscriptions for part in parts]),
        # Nodes and errors are named here since no field returns some of them by their own type.
        types=[
            *(one for part in parts for one in part.types),
            InvalidInputError,
            InvalidStateError,
            NotFoundError,
            IntegrationUnavailableError,
            IdempotencyConflictError,
            TemplateNotUsableError,
        ],
        config=CONFIG,
    )
    # Strawberry has no word for the description of a whole schema.
    schema._schema.description = INTRODUCTION
    _mark_one_of(schema._schema)
    build_by_plan(schema)
    hold_to_scopes(schema._schema)
    # Around all else: what was refused for want of a scope is told, too.
    audit_mutations(schema._schema)
    return schema


def _root(name: str, given: Sequence[type | None]) -> type:
    """A root type with the fields of these types; raises BrokenContribution where two have the same field."""
    fields: dict[str, StrawberryField] = {}
    for one in given:
        for field in _fields_of(one):
            if field.python_name in fields:
                raise BrokenContribution(f"the field {field.python_name} of {name} is contributed twice")
            fields[field.python_name] = field
    return create_type(name, list(fields.values()), description=_ROOTS[name])


def _extend(part: SchemaPart) -> None:
    """Add the fields of a part's extensions to the types they extend; the schema may be built more than once."""
    for extended, extension in part.extensions.items():
        known = {field.python_name: field for field in _fields_of(extended)}
        for field in _fields_of(extension):
            if known.get(field.python_name) is field:
                continue
            if field.python_name in known:
                raise BrokenContribution(f"{extended.__name__} has the field {field.python_name} already")
            _definition_of(extended).fields.append(field)


def _fields_of(one: type | None) -> Sequence[StrawberryField]:
    return () if one is None else _definition_of(one).fields


def _definition_of(one: type) -> StrawberryObjectDefinition:
    definition: StrawberryObjectDefinition = get_object_definition(one, strict=True)
    return definition


def _mark_one_of(schema: GraphQLSchema) -> None:
    """Tell graphql-core which inputs are `@oneOf`, so that validation refuses them: Strawberry waits for execution."""
    for one in schema.type_map.values():
        if isinstance(one, GraphQLInputObjectType):
            definition = one.extensions.get(GraphQLCoreConverter.DEFINITION_BACKREF)
            one.is_one_of = definition is not None and definition.is_one_of


def print_schema() -> str:
    """The schema as it is promised to clients."""
    schema = build_schema()
    definition = print_schema_definition(schema._schema)
    return f"{definition}\n\n{schema.as_str().strip()}\n"
