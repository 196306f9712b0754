"""Rules for the schema beyond being valid: one function per rule, each yielding its violations."""

import re
from collections.abc import Callable, Iterator
from typing import TypeVar

from graphql import (
    GraphQLEnumType,
    GraphQLField,
    GraphQLInputObjectType,
    GraphQLInterfaceType,
    GraphQLNamedType,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLScalarType,
    GraphQLSchema,
    GraphQLType,
    GraphQLUnionType,
    NullValueNode,
    get_named_type,
    is_composite_type,
    is_introspection_type,
    is_specified_scalar_type,
    validate_schema,
)

WithFields = GraphQLObjectType | GraphQLInterfaceType
Rule = Callable[[GraphQLSchema], Iterator[str]]
Kind = TypeVar("Kind", bound=GraphQLNamedType)

PAGE_INFO = {"hasNextPage": "Boolean!", "hasPreviousPage": "Boolean!", "startCursor": "String", "endCursor": "String"}
PAGE_ARGUMENTS = {"first": "Int", "after": "String", "last": "Int", "before": "String"}
QUESTION = re.compile(r"(is|has|can|are|was|should|will|needs)[A-Z]")
A_KIND = re.compile(r".(Type|Enum|Interface|Union|Object)$")


def broken_rules(schema: GraphQLSchema) -> list[str]:
    """Every breach of every rule, as sentences that begin with the place."""
    return [breach for rule in RULES for breach in rule(schema)]


def is_valid(schema: GraphQLSchema) -> Iterator[str]:
    yield from (f"schema: {error.message}" for error in validate_schema(schema))


def objects_can_be_fetched_again(schema: GraphQLSchema) -> Iterator[str]:
    """https://relay.dev/graphql/objectidentification.htm"""
    node = schema.get_type("Node")
    if not isinstance(node, GraphQLInterfaceType) or _shape(node) != {"id": "ID!"}:
        yield "Node: must be interface Node { id: ID! }"
    field = schema.query_type.fields.get("node") if schema.query_type else None
    if field is None or str(field.type) != "Node" or _arguments(field) != {"id": "ID!"}:
        yield "Query.node: must be node(id: ID!): Node"
    for place, field in _fields(schema):
        if place.endswith(".id") and str(field.type) != "ID!":
            yield f"{place}: must be ID!"


def lists_that_grow_are_connections(schema: GraphQLSchema) -> Iterator[str]:
    """https://relay.dev/graphql/connections.htm"""
    page_info = schema.get_type("PageInfo")
    if not isinstance(page_info, GraphQLObjectType) or _shape(page_info) != PAGE_INFO:
        yield "PageInfo: must have the four fields of Relay"
    for type_ in _of_kind(schema, GraphQLObjectType):
        if type_.name.endswith("Connection"):
            yield from _connection(schema, type_, type_.name.removesuffix("Connection"))
    for place, field in _fields(schema):
        if str(get_named_type(field.type)).endswith("Connection"):
            given = {name: type_ for name, type_ in _arguments(field).items() if name in PAGE_ARGUMENTS}
            if given != PAGE_ARGUMENTS:
                yield f"{place}: takes first: Int, after: String, last: Int and before: String"


def _connection(schema: GraphQLSchema, connection: GraphQLObjectType, item: str) -> Iterator[str]:
    wanted = {"edges": f"[{item}Edge!]!", "nodes": f"[{item}!]!", "pageInfo": "PageInfo!"}
    if not wanted.items() <= _shape(connection).items():
        yield f"{connection}: needs edges, nodes and pageInfo"
    edge = schema.get_type(f"{item}Edge")
    if not isinstance(edge, GraphQLObjectType) or _shape(edge) != {"cursor": "String!", "node": f"{item}!"}:
        yield f"{item}Edge: must be {{ cursor: String!, node: {item}! }}"


def mutations_take_an_input_and_return_a_payload(schema: GraphQLSchema) -> Iterator[str]:
    for name, field in (schema.mutation_type.fields if schema.mutation_type else {}).items():
        place, capital = f"Mutation.{name}", name[0].upper() + name[1:]
        if _arguments(field) != {"input": f"{capital}Input!"}:
            yield f"{place}: takes input: {capital}Input!"
        payload = get_named_type(field.type)
        if str(field.type) != f"{capital}Payload!" or not isinstance(payload, GraphQLObjectType):
            yield f"{place}: returns {capital}Payload!"
        else:
            yield from _payload(schema, payload)


def _payload(schema: GraphQLSchema, payload: GraphQLObjectType) -> Iterator[str]:
    errors = payload.fields.get("errors")
    if errors is None or not re.fullmatch(r"\[\w+!\]!", str(errors.type)):
        yield f"{payload}.errors: must be a list [XError!]!"
    else:
        named = get_named_type(errors.type)
        for member in named.types if isinstance(named, GraphQLUnionType) else [named]:
            if "UserError" not in map(str, getattr(member, "interfaces", ())):
                yield f"{payload}.errors: {member} does not implement UserError"
    for name, field in payload.fields.items():
        if isinstance(field.type, GraphQLNonNull) and is_composite_type(field.type.of_type):
            yield f"{payload}.{name}: is null when there are errors"


def members_of_a_union_agree(schema: GraphQLSchema) -> Iterator[str]:
    """A client that selects a like-named field of two members would have to alias one."""
    for union in _of_kind(schema, GraphQLUnionType):
        seen: dict[str, tuple[str, GraphQLType]] = {}
        for member in union.types:
            for name, field in member.fields.items():
                first, type_ = seen.setdefault(name, (member.name, field.type))
                if not _can_be_merged(type_, field.type):
                    yield f"{union}: {first}.{name} is {type_}, {member}.{name} is {field.type}"


def _can_be_merged(one: GraphQLType, other: GraphQLType) -> bool:
    a, b = get_named_type(one), get_named_type(other)
    if is_composite_type(a) and is_composite_type(b):
        return str(one).replace(str(a), "") == str(other).replace(str(b), "")
    return str(one) == str(other)


def lists_hold_no_nulls(schema: GraphQLSchema) -> Iterator[str]:
    for place, type_ in _places(schema):
        # Relay's nodes(ids:) answers in the order asked, with gaps.
        if place != "Query.nodes" and re.search(r"[^!]\]", str(type_)):
            yield f"{place}: {type_} lets nulls in"


def booleans_are_questions(schema: GraphQLSchema) -> Iterator[str]:
    for place, field in _fields(schema):
        if str(get_named_type(field.type)) == "Boolean" and not QUESTION.match(place.split(".")[1]):
            yield f"{place}: a boolean reads as a question: isX, hasX, canX"


def moments_are_moments(schema: GraphQLSchema) -> Iterator[str]:
    for place, type_ in _places(schema):
        is_moment = re.search(r"[a-z](At|Until)$", place) or place.endswith(".at")
        if is_moment and str(get_named_type(type_)) not in ("DateTime", "LocalDate"):
            yield f"{place}: {type_} is no moment"


def names_say_what_things_are(schema: GraphQLSchema) -> Iterator[str]:
    for type_ in _types(schema):
        if A_KIND.search(type_.name):
            yield f"{type_}: the kind does not belong in the name"
        if isinstance(type_, GraphQLInputObjectType) and not re.search(r"(Input|Filter|Order)$", type_.name):
            yield f"{type_}: an input ends in Input, Filter or Order"
        if isinstance(type_, GraphQLEnumType):
            for value in type_.values:
                if not re.fullmatch(r"[A-Z][A-Z0-9_]*", value):
                    yield f"{type_}.{value}: is written in capitals"
        if isinstance(type_, GraphQLScalarType) and not type_.specified_by_url:
            yield f"{type_}: a scalar says where it is specified"
    for place, _ in _fields(schema):
        if re.search(r"\.(get|fetch|list|retrieve)[A-Z]", place):
            yield f"{place}: a field is a noun"


def events_are_past_and_never_null(schema: GraphQLSchema) -> Iterator[str]:
    for name, field in (schema.subscription_type.fields if schema.subscription_type else {}).items():
        if not name.endswith("ed") or not isinstance(field.type, GraphQLNonNull):
            yield f"Subscription.{name}: is named in the past tense and not null"


def everything_is_described(schema: GraphQLSchema) -> Iterator[str]:
    """Types, and the fields a client begins with; a field of a type may speak for itself."""
    if not schema.description:
        yield "schema: has no description"
    for type_ in _types(schema):
        if not type_.description:
            yield f"{type_}: has no description"
    for root in (schema.query_type, schema.mutation_type, schema.subscription_type):
        for name, field in (root.fields if root else {}).items():
            if not field.description:
                yield f"{root}.{name}: has no description"


def everything_is_reachable(schema: GraphQLSchema) -> Iterator[str]:
    """A type that nothing leads to cannot be used."""
    seen: set[str] = set()
    ahead: list[GraphQLNamedType] = [
        root for root in (schema.query_type, schema.mutation_type, schema.subscription_type) if root
    ]
    ahead += [get_named_type(one.type) for directive in schema.directives for one in directive.args.values()]
    while ahead:
        type_ = ahead.pop()
        if type_.name not in seen:
            seen.add(type_.name)
            ahead += _leads_to(schema, type_)
    yield from (f"{type_}: nothing leads here" for type_ in _types(schema) if type_.name not in seen)


def _leads_to(schema: GraphQLSchema, type_: GraphQLNamedType) -> Iterator[GraphQLNamedType]:
    for field in getattr(type_, "fields", {}).values():
        yield get_named_type(field.type)
        yield from (get_named_type(one.type) for one in getattr(field, "args", {}).values())
    yield from getattr(type_, "interfaces", ())
    if isinstance(type_, GraphQLInterfaceType | GraphQLUnionType):
        yield from schema.get_possible_types(type_)


def nothing_is_null_by_default(schema: GraphQLSchema) -> Iterator[str]:
    """`= null` says nothing that leaving it out does not."""
    for place, field in _fields(schema):
        for name, argument in field.args.items():
            if argument.ast_node and isinstance(argument.ast_node.default_value, NullValueNode):
                yield f"{place}.{name}: = null says nothing"
    for type_ in _of_kind(schema, GraphQLInputObjectType):
        for name, one in type_.fields.items():
            if one.ast_node and isinstance(one.ast_node.default_value, NullValueNode):
                yield f"{type_}.{name}: = null says nothing"


def references_are_objects(schema: GraphQLSchema) -> Iterator[str]:
    """An id of ours leads to an object, so the object is what is shown; a provider's id is a text of theirs."""
    for place, field in _fields(schema):
        if re.search(r"[a-z]Id$", place) and str(get_named_type(field.type)) == "ID":
            yield f"{place}: show the object, not its id"


RULES: tuple[Rule, ...] = (
    is_valid,
    objects_can_be_fetched_again,
    lists_that_grow_are_connections,
    mutations_take_an_input_and_return_a_payload,
    members_of_a_union_agree,
    lists_hold_no_nulls,
    booleans_are_questions,
    moments_are_moments,
    names_say_what_things_are,
    events_are_past_and_never_null,
    everything_is_described,
    everything_is_reachable,
    nothing_is_null_by_default,
    references_are_objects,
)


def _types(schema: GraphQLSchema) -> Iterator[GraphQLNamedType]:
    for type_ in schema.type_map.values():
        if not is_introspection_type(type_) and not is_specified_scalar_type(type_):
            yield type_


def _of_kind(schema: GraphQLSchema, *kinds: type[Kind]) -> Iterator[Kind]:
    return (type_ for type_ in _types(schema) if isinstance(type_, kinds))


def _fields(schema: GraphQLSchema) -> Iterator[tuple[str, GraphQLField]]:
    """Every field of an output type, with its place: Message.id."""
    for type_ in _of_kind(schema, GraphQLObjectType, GraphQLInterfaceType):
        for name, field in type_.fields.items():
            yield f"{type_}.{name}", field


def _places(schema: GraphQLSchema) -> Iterator[tuple[str, GraphQLType]]:
    """Everything that has a type: fields, arguments, fields of inputs."""
    for place, field in _fields(schema):
        yield place, field.type
        for name, argument in field.args.items():
            yield f"{place}.{name}", argument.type
    for type_ in _of_kind(schema, GraphQLInputObjectType):
        for name, field in type_.fields.items():
            yield f"{type_}.{name}", field.type


def _shape(type_: WithFields) -> dict[str, str]:
    return {name: str(field.type) for name, field in type_.fields.items()}


def _arguments(field: GraphQLField) -> dict[str, str]:
    return {name: str(argument.type) for name, argument in field.args.items()}
