"""The cost of an operation in points, computed from its document and variables before it runs.

A field that takes arguments or has a resolver of its own costs one point. A connection costs one more for each item its
page may hold, and what is selected of an item counts once for each of them. A list handed in costs a point an item.
A document is read once; only sizes that come from variables are looked at again for each request.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLField,
    GraphQLNamedType,
    GraphQLSchema,
    InlineFragmentNode,
    IntValueNode,
    ListValueNode,
    ObjectValueNode,
    OperationDefinitionNode,
    SelectionSetNode,
    ValueNode,
    VariableNode,
    get_named_type,
    is_list_type,
    value_from_ast_untyped,
)
from graphql.pyutils import Undefined
from strawberry.schema.schema_converter import GraphQLCoreConverter
from strawberry.types.field import StrawberryField

DEFAULT_PAGE = 25
LARGEST_PAGE = 100
_ITEMS = frozenset({"nodes", "edges"})

Variables = Mapping[str, Any]
Size = Callable[[Variables], int]


@dataclass(slots=True)
class Price:
    """A sum: so many points, and for each part its size times its own price."""

    points: int = 0
    parts: list[tuple[Size, "Price"]] = field(default_factory=list)

    def of(self, variables: Variables) -> int:
        """Count the points for one request."""
        return self.points + sum(size(variables) * price.of(variables) for size, price in self.parts)

    def add(self, other: "Price") -> None:
        """Count another price too."""
        self.points += other.points
        self.parts += other.parts


class Pricer:
    """Finds the price of one document's operations."""

    def __init__(self, schema: GraphQLSchema, document: DocumentNode) -> None:
        self._schema = schema
        self._fragments = {
            node.name.value: node for node in document.definitions if isinstance(node, FragmentDefinitionNode)
        }
        self._known: dict[str, Price] = {}
        self._defaults: dict[str, Any] = {}

    def price(self, operation: OperationDefinitionNode) -> Price:
        """Find the price of a valid operation."""
        self._known.clear()
        self._defaults = {
            one.variable.name.value: value_from_ast_untyped(one.default_value)
            for one in operation.variable_definitions or ()
            if one.default_value is not None
        }
        return self._selections(operation.selection_set, self._schema.get_root_type(operation.operation))

    def _selections(self, selection_set: SelectionSetNode | None, parent: GraphQLNamedType | None) -> Price:
        total = Price()
        for selection in selection_set.selections if selection_set else ():
            if isinstance(selection, FieldNode):
                total.add(self._field(selection, parent))
            elif isinstance(selection, FragmentSpreadNode):
                total.add(self._fragment(selection.name.value))
            elif isinstance(selection, InlineFragmentNode):
                condition = selection.type_condition
                inner = self._schema.get_type(condition.name.value) if condition else parent
                total.add(self._selections(selection.selection_set, inner))
        return total

    def _fragment(self, name: str) -> Price:
        if name not in self._known:
            fragment = self._fragments[name]
            parent = self._schema.get_type(fragment.type_condition.name.value)
            self._known[name] = self._selections(fragment.selection_set, parent)
        return self._known[name]

    def _field(self, node: FieldNode, parent: GraphQLNamedType | None) -> Price:
        definition: GraphQLField | None = getattr(parent, "fields", {}).get(node.name.value)
        if definition is None:
            # __typename, __schema and __type: what is already in memory.
            return Price(int(node.selection_set is not None))
        inner = self._selections(node.selection_set, get_named_type(definition.type))
        own = Price(int(bool(definition.args) or _has_resolver(definition)))
        given = [self._items(argument.value) for argument in node.arguments or ()]
        own.parts += [(size, Price(1)) for size in given if size]
        if {"first", "last"} <= definition.args.keys():
            return self._page(node, own, get_named_type(definition.type))
        listed = [size for size in given if size]
        if listed and is_list_type(getattr(definition.type, "of_type", definition.type)):
            own.parts.append((listed[0], inner))
        else:
            own.add(inner)
        return own

    def _page(self, node: FieldNode, own: Price, connection: GraphQLNamedType) -> Price:
        """Price a connection: what hangs on its items counts once for each, the rest once."""
        size = self._page_size(node)
        for is_item, nodes in _split(self._flat(node.selection_set)):
            price = Price()
            for child in nodes:
                price.add(self._field(child, connection))
            if is_item and nodes:
                own.parts.append((size, Price(1)))
                own.parts.append((size, price))
            else:
                own.add(price)
        return own

    def _flat(self, selection_set: SelectionSetNode | None) -> Iterable[FieldNode]:
        """Give the fields of a connection; its fragments can only be about itself."""
        for selection in selection_set.selections if selection_set else ():
            if isinstance(selection, FieldNode):
                yield selection
            elif isinstance(selection, FragmentSpreadNode):
                yield from self._flat(self._fragments[selection.name.value].selection_set)
            elif isinstance(selection, InlineFragmentNode):
                yield from self._flat(selection.selection_set)

    def _page_size(self, node: FieldNode) -> Size:
        asked = {one.name.value: self._value(one.value) for one in node.arguments or ()}

        def size(variables: Variables) -> int:
            found = [asked[name](variables) for name in ("first", "last") if name in asked]
            numbers = [one for one in found if isinstance(one, int)]
            # More than a page may hold is refused by the resolver, in better words than a price has.
            return max(0, min(max(numbers, default=DEFAULT_PAGE), LARGEST_PAGE))

        return size

    def _items(self, value: ValueNode) -> Size | None:
        """Count the items of a list, or of the lists of an object, that are handed in; None where there can be none."""
        if isinstance(value, VariableNode | ListValueNode | ObjectValueNode):
            read = self._value(value)
            return lambda variables: _count(read(variables))
        return None

    def _value(self, value: ValueNode) -> Callable[[Variables], Any]:
        if isinstance(value, IntValueNode):
            number = int(value.value)
            return lambda _: number
        if isinstance(value, VariableNode):
            name, default = value.name.value, self._defaults.get(value.name.value)
            return lambda variables: variables.get(name, default)

        def read(variables: Variables) -> Any:
            found = value_from_ast_untyped(value, dict(variables))
            return None if found is Undefined else found

        return read


def _split(nodes: Iterable[FieldNode]) -> list[tuple[bool, list[FieldNode]]]:
    every = list(nodes)
    return [(wanted, [one for one in every if (one.name.value in _ITEMS) is wanted]) for wanted in (True, False)]


def _count(value: Any) -> int:
    if isinstance(value, list):
        return len(value)
    if isinstance(value, Mapping):
        return sum(len(one) for one in value.values() if isinstance(one, list))
    return 0


def _has_resolver(definition: GraphQLField) -> bool:
    strawberry_field = (definition.extensions or {}).get(GraphQLCoreConverter.DEFINITION_BACKREF)
    return isinstance(strawberry_field, StrawberryField) and strawberry_field.base_resolver is not None
