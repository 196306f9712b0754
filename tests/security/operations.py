"""Operations generated from the schema: every root field, and every argument that takes an id."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from graphql import (
    GraphQLEnumType,
    GraphQLField,
    GraphQLInputObjectType,
    GraphQLInterfaceType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLSchema,
    GraphQLUnionType,
    get_named_type,
    is_composite_type,
    is_required_argument,
    is_required_input_field,
)

# What a correct request says where the schema alone does not tell: by the type's name, else by the argument's.
_SAMPLES: dict[str, Any] = {
    "PhoneNumber": "+5511987654321",
    "EmailAddress": "ana@example.com",
    "DateTime": "2026-11-23T14:05:00.000Z",
    "Duration": "PT1H",
    "Channel": "SMS",
    "IntegrationKind": "TWILIO",
    "String": "word",
    # A message that does not exist.
    "ID": "TWVzc2FnZToBmrWS1cl6EKr8MmiNB_NO",
    "Int": 1,
    "Boolean": False,
}
_DEPTH = 4
_ENDLESS = 2

FieldPath = tuple[str, ...]


@dataclass(frozen=True)
class ArgumentPath:
    """A root field and the way through its arguments to one that takes ids: `sendMessages.input.messages.inReplyTo`."""

    operation: str
    field: str
    path: FieldPath

    def __str__(self) -> str:
        return ".".join((self.field, *self.path))


class OperationBuilder:
    """Knows a schema and writes operations for it."""

    def __init__(self, schema: GraphQLSchema) -> None:
        self.schema = schema
        roots = (schema.query_type, schema.mutation_type, schema.subscription_type)
        self.roots = [root for root in roots if root is not None]

    def node_types(self) -> set[str]:
        """The types of all objects that have a global id."""
        return {one.name for one in self.schema.get_possible_types(self.schema.type_map["Node"])}  # type: ignore[arg-type]

    def targets(self, *scalars: str) -> list[ArgumentPath]:
        """Every place where a caller can put an id, or a value of other scalars."""
        wanted = frozenset(scalars or ("ID",))
        return [
            ArgumentPath(root.name.lower(), name, (argument, *path))
            for root in self.roots
            for name, field in root.fields.items()
            for argument, one in field.args.items()
            for path in self._ways(one.type, wanted)
        ]

    def lists(self) -> list[str]:
        """The queries that are read by page."""
        query = self.schema.query_type
        return [name for name, field in query.fields.items() if "after" in field.args] if query else []

    def document(self, operation: str, name: str, *, without: frozenset[str] = frozenset()) -> str:
        """An operation that asks one root field for everything it has, some levels deep, `without` some fields."""
        field = self._root(operation)[name]
        inside = self._selection(get_named_type(field.type), _DEPTH, without)
        return f"{self._head(operation, name)}{inside} }}"

    def _head(self, operation: str, name: str) -> str:
        field = self._root(operation)[name]
        declared = ", ".join(f"${argument}: {one.type}" for argument, one in field.args.items())
        passed = ", ".join(f"{argument}: ${argument}" for argument in field.args)
        head = f"{operation}({declared})" if declared else operation
        return f"{head} {{ {name}({passed})" if passed else f"{head} {{ {name}"

    def shallow(self, operation: str, name: str) -> str:
        """An operation that asks one root field for as good as nothing."""
        field = self._root(operation)[name]
        inside = " { __typename }" if is_composite_type(get_named_type(field.type)) else ""
        return f"{self._head(operation, name)}{inside} }}"

    def correct(self, operation: str, name: str) -> dict[str, Any]:
        """A valid request; its ids are unknown ones."""
        args = self._root(operation)[name].args
        # One that has a default must be given all the same where its variable may not be null.
        return {one: self._sample(arg.type, one) for one, arg in args.items() if isinstance(arg.type, GraphQLNonNull)}

    def variables(self, target: ArgumentPath, value: str) -> dict[str, Any]:
        """A valid request, with `value` where the path takes an id."""
        field, (first, *rest) = self._root(target.operation)[target.field], target.path
        given = {
            argument: self._sample(one.type, argument)
            for argument, one in field.args.items()
            if is_required_argument(one) and argument != first
        }
        return given | {first: self._with(field.args[first].type, rest, value, first)}

    def request(self, operation: str, name: str) -> dict[str, Any]:
        """Arguments for a root field, as the schema alone would have them."""
        arguments = self._root(operation)[name].args
        return {argument: self._sample(one.type, argument) for argument, one in arguments.items()}

    def _root(self, operation: str) -> dict[str, GraphQLField]:
        return next(root.fields for root in self.roots if root.name.lower() == operation)

    def _ways(self, type_: Any, wanted: frozenset[str], seen: tuple[str, ...] = ()) -> Iterator[FieldPath]:
        named = get_named_type(type_)
        if named.name in wanted:
            yield ()
        elif isinstance(named, GraphQLInputObjectType) and seen.count(named.name) < _ENDLESS:
            for name, field in named.fields.items():
                for path in self._ways(field.type, wanted, (*seen, named.name)):
                    yield (name, *path)

    def _with(self, type_: Any, path: list[str], value: str, name: str) -> Any:
        if isinstance(type_, GraphQLNonNull):
            return self._with(type_.of_type, path, value, name)
        if isinstance(type_, GraphQLList):
            return [self._with(type_.of_type, path, value, name)]
        if not path:
            return value
        first, *rest = path
        others = {} if _is_one_of(type_) else self._needed(type_, without=first)
        return others | {first: self._with(type_.fields[first].type, rest, value, first)}

    def _needed(self, type_: GraphQLInputObjectType, without: str = "") -> dict[str, Any]:
        return {
            name: self._sample(field.type, name)
            for name, field in type_.fields.items()
            if is_required_input_field(field) and name != without
        }

    def _sample(self, type_: Any, name: str) -> Any:
        if isinstance(type_, GraphQLNonNull):
            return self._sample(type_.of_type, name)
        if isinstance(type_, GraphQLList):
            return [self._sample(type_.of_type, name)]
        if name == "idempotencyKey":
            return uuid4().hex
        if isinstance(type_, GraphQLInputObjectType):
            if _is_one_of(type_):
                first, field = next(iter(type_.fields.items()))
                return {first: self._sample(field.type, first)}
            return self._needed(type_)
        if type_.name not in _SAMPLES and isinstance(type_, GraphQLEnumType):
            return next(iter(type_.values))
        return _SAMPLES[type_.name]

    def _selection(self, type_: Any, depth: int, without: frozenset[str]) -> str:
        if isinstance(type_, GraphQLUnionType | GraphQLInterfaceType):
            members = self.schema.get_possible_types(type_)
            parts = [f"... on {one.name}{self._selection(one, depth, without)}" for one in members]
            return f" {{ __typename {' '.join(parts)} }}"
        if not isinstance(type_, GraphQLObjectType):
            return ""
        return f" {{ __typename {' '.join(self._fields(type_, depth, without))} }}"

    def _fields(self, type_: GraphQLObjectType, depth: int, without: frozenset[str]) -> Iterator[str]:
        for name, field in type_.fields.items():
            named = get_named_type(field.type)
            is_left_out = name in without or (depth == 0 and is_composite_type(named))
            if not is_left_out and not any(is_required_argument(one) for one in field.args.values()):
                # Members of a union may have fields of one name and different types.
                yield f"{type_.name}_{name}: {name}{self._selection(named, depth - 1, without)}"


def _is_one_of(type_: GraphQLInputObjectType) -> bool:
    """Whether exactly one of its fields is to be given; graphql-core itself learns that with its next version."""
    return bool(type_.extensions["strawberry-definition"].is_one_of)
