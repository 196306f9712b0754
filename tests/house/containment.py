"""Is one schema contained in another? Everything of the first must be in the second, in the same shape."""

from collections.abc import Iterator, Mapping

from graphql import (
    GraphQLArgument,
    GraphQLDirective,
    GraphQLEnumType,
    GraphQLInputField,
    GraphQLInputObjectType,
    GraphQLInterfaceType,
    GraphQLNamedType,
    GraphQLObjectType,
    GraphQLScalarType,
    GraphQLSchema,
    GraphQLUnionType,
    is_introspection_type,
    is_required_argument,
    is_required_input_field,
    is_specified_directive,
    is_specified_scalar_type,
    print_ast,
)

Given = Mapping[str, GraphQLArgument] | Mapping[str, GraphQLInputField]


def differences(inner: GraphQLSchema, outer: GraphQLSchema) -> Iterator[str]:
    """Say in which places `inner` is not contained in `outer`, one sentence each."""
    for root in ("query_type", "mutation_type", "subscription_type"):
        ours, theirs = getattr(inner, root), getattr(outer, root)
        if ours is not None and str(ours) != str(theirs):
            yield f"{root}: {ours}, not {theirs}"
    for name, type_ in inner.type_map.items():
        if not is_introspection_type(type_) and not is_specified_scalar_type(type_):
            yield from _of_type(type_, outer.type_map.get(name))
    directives = {directive.name: directive for directive in outer.directives}
    for directive in inner.directives:
        if not is_specified_directive(directive):
            yield from _of_directive(directive, directives.get(directive.name))


def _of_type(ours: GraphQLNamedType, theirs: GraphQLNamedType | None) -> Iterator[str]:
    if type(ours) is not type(theirs):
        yield f"{ours}: {_kind(ours)}, not {_kind(theirs)}"
    elif isinstance(ours, GraphQLObjectType | GraphQLInterfaceType):
        yield from _of_fields(ours, theirs)
    elif isinstance(ours, GraphQLUnionType):
        yield from _missing(ours.name, {str(one) for one in ours.types}, {str(one) for one in theirs.types})
    elif isinstance(ours, GraphQLEnumType):
        yield from _missing(ours.name, set(ours.values), set(theirs.values))
    elif isinstance(ours, GraphQLInputObjectType):
        if ours.is_one_of != theirs.is_one_of:
            yield f"{ours}: exactly one of its fields is given in one of the two only"
        yield from _of_given(ours.name, ours.fields, theirs.fields)
    elif isinstance(ours, GraphQLScalarType) and ours.specified_by_url != theirs.specified_by_url:
        yield f"{ours}: specified by {ours.specified_by_url}, not {theirs.specified_by_url}"


def _of_fields(
    ours: GraphQLObjectType | GraphQLInterfaceType, theirs: GraphQLObjectType | GraphQLInterfaceType
) -> Iterator[str]:
    yield from _missing(ours.name, {str(one) for one in ours.interfaces}, {str(one) for one in theirs.interfaces})
    yield from _missing(ours.name, set(ours.fields), set(theirs.fields))
    for name in ours.fields.keys() & theirs.fields.keys():
        place, field, other = f"{ours}.{name}", ours.fields[name], theirs.fields[name]
        if str(field.type) != str(other.type):
            yield f"{place}: {field.type}, not {other.type}"
        yield from _of_given(place, field.args, other.args)


def _of_given(place: str, ours: Given, theirs: Given) -> Iterator[str]:
    yield from _missing(place, set(ours), set(theirs))
    for name in theirs.keys() - ours.keys():
        # A client that does not give it today would be refused on the day it comes.
        if is_required_argument(theirs[name]) or is_required_input_field(theirs[name]):
            yield f"{place}: {name} is required there"
    for name in ours.keys() & theirs.keys():
        if _written(ours[name]) != _written(theirs[name]):
            yield f"{place}.{name}: {_written(ours[name])}, not {_written(theirs[name])}"


def _of_directive(ours: GraphQLDirective, theirs: GraphQLDirective | None) -> Iterator[str]:
    if theirs is None:
        yield f"@{ours.name}: is not there"
        return
    yield from _missing(f"@{ours.name}", {one.name for one in ours.locations}, {one.name for one in theirs.locations})
    yield from _of_given(f"@{ours.name}", ours.args, theirs.args)


def _missing(place: str, ours: set[str], theirs: set[str]) -> Iterator[str]:
    for name in sorted(ours - theirs):
        yield f"{place}: {name} is not there"


def _written(given: GraphQLArgument | GraphQLInputField) -> str:
    default = given.ast_node.default_value if given.ast_node else None
    return f"{given.type} = {print_ast(default)}" if default else str(given.type)


def _kind(type_: GraphQLNamedType | None) -> str:
    return type(type_).__name__ if type_ else "anything"
