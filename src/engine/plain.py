"""Plain objects are written at once: those of which nothing is asked but attributes that are there already.

graphql-core looks at every field singly: what it selects, who resolves it, whether it waits, what came of it. Where no
resolver has a say, that is the same each time, and is found out once for each place of a document. The resolvers
themselves, what they raise and in which order they run, stay graphql-core's business. Whatever is not quite as expected
(null where none may be, an error, something to wait for, a class nobody knows) is left to it too: reading attributes
can be done twice, and it finds the right words.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from types import GeneratorType
from typing import Any

from graphql import (
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLLeafType,
    GraphQLObjectType,
    GraphQLOutputType,
    SelectionSetNode,
    is_abstract_type,
    is_leaf_type,
    is_list_type,
    is_non_null_type,
    is_object_type,
)
from graphql.pyutils import UndefinedType
from strawberry.schema.schema import StrawberryGraphQLCoreExecutionContext as StrawberryExecutor
from strawberry.schema.schema_converter import GraphQLCoreConverter
from strawberry.types.base import StrawberryObjectDefinition
from strawberry.types.cast import get_strawberry_type_cast
from strawberry.types.field import StrawberryField

Write = Callable[[Any], Any]
"""Makes of a value what is answered; raises NotPlain."""
_MOST = 256
"""Places of one document that are remembered: directives can make more of them than anybody needs."""
_MOST_FIELDS = 512
"""Fields written in all of them together: each weighs as much as some characters of the document."""


class NotPlain(Exception):
    """This value needs more than writing down."""


class Places(dict[tuple[Any, ...], Write | None]):
    """What was found out about the places of one document; None where there is more to do than to write."""

    fields = 0


class PlainExecutor(StrawberryExecutor):
    """graphql-core's executor as Strawberry has it, but for plain objects."""

    def __init__(self, *arguments: Any, places: Places, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self._places = places

    def complete_object_value(
        self, return_type: GraphQLObjectType, field_details_list: Any, info: Any, path: Any, result: Any, *more: Any
    ) -> Any:
        """Write a plain object, or have it executed field by field."""
        write = self._write_of(return_type, field_details_list)
        if write is not None:
            try:
                return write(result)
            except Exception:  # noqa: BLE001, S110  # graphql-core meets it again, and knows where it happened
                pass
        return super().complete_object_value(return_type, field_details_list, info, path, result, *more)

    def _write_of(self, kind: GraphQLObjectType, details: Sequence[Any]) -> Write | None:
        place = (kind, *(id(one.node) for one in details))
        if place in self._places:
            return self._places[place]
        if len(self._places) >= _MOST or self._places.fields >= _MOST_FIELDS:
            return None
        is_fixed = all(_is_fixed(one.node.selection_set, self.fragment_definitions, set()) for one in details)
        write = self._places[place] = self._object(kind, details) if is_fixed else None
        return write

    def _object(self, kind: GraphQLObjectType, details: Sequence[Any]) -> Write | None:
        made_of = _class_of(kind)
        if made_of is None:
            return None
        written: list[tuple[str, str, Write]] = []
        fixed: dict[str, Any] = {}
        for key, asked in self.collect_subfields(kind, details).grouped_field_set.items():  # type: ignore[arg-type]
            name = asked[0].node.name.value
            fixed[key] = kind.name
            if name != "__typename":
                attribute = _attribute_of(kind, name)
                write = None if attribute is None else self._value(kind.fields[name].type, asked)
                if attribute is None or write is None:
                    return None
                written.append((key, attribute, write))
        self._places.fields += len(fixed)

        def write_object(value: Any) -> dict[str, Any]:
            if type(value) is not made_of or get_strawberry_type_cast(value) is not None:
                raise NotPlain
            answer = fixed.copy()
            for key, attribute, write in written:
                answer[key] = write(getattr(value, attribute))
            return answer

        return write_object

    def _value(self, kind: GraphQLOutputType, details: Sequence[Any]) -> Write | None:
        if is_non_null_type(kind):
            inner = self._value(kind.of_type, details)
            return None if inner is None else _never_null(inner)
        if is_list_type(kind):
            item = self._value(kind.of_type, details)
            return None if item is None else _list(item)
        if is_leaf_type(kind):
            return _leaf(kind)
        if is_object_type(kind):
            return _or_null(self._object(kind, details))
        return _or_null(self._any_of(kind, details))

    def _any_of(self, kind: GraphQLOutputType, details: Sequence[Any]) -> Write | None:
        definition = kind.extensions.get(GraphQLCoreConverter.DEFINITION_BACKREF) if is_abstract_type(kind) else None
        if definition is None or getattr(definition, "resolve_type", None) is not None:
            return None
        members = {_class_of(one): self._object(one, details) for one in self.schema.get_possible_types(kind)}  # type: ignore[arg-type]
        known = {made_of: write for made_of, write in members.items() if made_of and write}

        def write_member(value: Any) -> Any:
            write = known.get(type(value))
            if write is None:
                raise NotPlain
            return write(value)

        return write_member if known else None


def _is_fixed(
    selected: SelectionSetNode | None, fragments: Mapping[str, FragmentDefinitionNode], seen: set[str]
) -> bool:
    """Whether a selection is the same in every request: no directive has a say in it."""
    for one in selected.selections if selected else ():
        if one.directives:
            return False
        if isinstance(one, FragmentSpreadNode):
            name = one.name.value
            inner = None if name in seen else fragments[name].selection_set
            seen.add(name)
        else:
            inner = one.selection_set  # type: ignore[attr-defined]
        if not _is_fixed(inner, fragments, seen):
            return False
    return True


def _class_of(kind: GraphQLObjectType) -> type | None:
    """The class whose instances are of a type for certain; None where somebody decides that for each."""
    definition = kind.extensions.get(GraphQLCoreConverter.DEFINITION_BACKREF)
    if not isinstance(definition, StrawberryObjectDefinition) or definition.is_type_of or definition.concrete_of:
        return None
    return definition.origin


def _attribute_of(kind: GraphQLObjectType, name: str) -> str | None:
    """The attribute that is all there is to a field; None where a resolver, a scope or an extension is."""
    field = kind.fields.get(name)
    if field is None or not getattr(field.resolve, "_is_default", False):
        return None
    known = field.extensions.get(GraphQLCoreConverter.DEFINITION_BACKREF)
    is_plain = isinstance(known, StrawberryField) and known.is_basic_field and known.default_resolver is getattr
    return known.python_name if is_plain else None


@cache
def _is_inert(kind: type) -> bool:
    """Whether values of a class are what they seem: no error, and nothing to wait for."""
    strange = (BaseException, GeneratorType, UndefinedType)
    return not issubclass(kind, strange) and not hasattr(kind, "__await__")


def _never_null(inner: Write) -> Write:
    def write(value: Any) -> Any:
        answer = inner(value)
        if answer is None:
            raise NotPlain
        return answer

    return write


def _or_null(inner: Write | None) -> Write | None:
    return None if inner is None else lambda value: None if value is None else inner(value)


def _list(item: Write) -> Write:
    def write(values: Any) -> Any:
        if values is None:
            return None
        if type(values) is not list and type(values) is not tuple:
            raise NotPlain
        return [item(value) for value in values]

    return write


def _leaf(kind: GraphQLLeafType) -> Write:
    coerce = kind.coerce_output_value

    def write(value: Any) -> Any:
        if value is None:
            return None
        if not _is_inert(type(value)):  # type: ignore[arg-type]  # classes can be hashed
            raise NotPlain
        answer = coerce(value)
        if answer is None or type(answer) is UndefinedType:
            raise NotPlain
        return answer

    return write
