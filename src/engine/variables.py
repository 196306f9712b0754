"""Variables are read by a reader made once for each operation, as graphql-core would read them.

It reads what fits. Of anything else it knows only that it does not fit: graphql-core then reads it all again, and finds
the words for what is wrong.
"""

from collections.abc import Callable, Mapping
from typing import Any
from weakref import WeakKeyDictionary

from graphql import (
    GraphQLInputObjectType,
    GraphQLInputType,
    GraphQLSchema,
    OperationDefinitionNode,
    is_input_object_type,
    is_leaf_type,
    is_list_type,
    is_non_null_type,
    is_required_input_field,
)
from graphql.execution.get_variable_signature import GraphQLVariableSignature, get_variable_signature
from graphql.execution.values import VariableValues, VariableValueSource
from graphql.pyutils import Undefined
from graphql.utilities.coerce_input_value import coerce_default_value

Read = Callable[[Any], Any]
Reader = Callable[[Mapping[str, Any]], VariableValues | None]
"""Reads all variables of an operation; None where something does not fit, or is left to graphql-core."""

Known = dict[str, Read | None]
"""How input objects are read, by their names: what a document declares may be many times the same."""
_KNOWN: WeakKeyDictionary[GraphQLSchema, Known] = WeakKeyDictionary()


class Unfit(Exception):
    """A value is not of its type, or not in the form this can read."""


def reader_of(schema: GraphQLSchema, operation: OperationDefinitionNode) -> Reader:
    """Make the reader of an operation that has been validated."""
    known: dict[str, tuple[GraphQLVariableSignature, Read, bool]] = {}
    objects = _KNOWN.setdefault(schema, {})
    for node in operation.variable_definitions or ():
        signature = get_variable_signature(schema, node)
        read = _read(signature.type, objects) if isinstance(signature, GraphQLVariableSignature) else None
        if read is None or not isinstance(signature, GraphQLVariableSignature):
            return lambda _: None
        may_be_left_out = node.default_value is None and not is_non_null_type(signature.type)
        known[signature.name] = (signature, read, may_be_left_out)

    def reader(given: Mapping[str, Any]) -> VariableValues | None:
        sources, coerced = {}, {}
        for name, (signature, read, may_be_left_out) in known.items():
            if name in given:
                value = given[name]
                sources[name] = VariableValueSource(signature, value)
                try:
                    coerced[name] = read(value)
                except Exception:  # noqa: BLE001  # whatever a scalar raises, graphql-core meets it again
                    return None
            elif may_be_left_out:
                sources[name] = VariableValueSource(signature)
            else:
                return None
        return VariableValues(sources, coerced)

    return reader


def _read(kind: GraphQLInputType, known: Known) -> Read | None:
    """How values of a type are read; None for one that holds itself, whose depth somebody has to watch."""
    if is_non_null_type(kind):
        inner = _read(kind.of_type, known)
        return None if inner is None else _never_null(inner)
    if is_list_type(kind):
        item = _read(kind.of_type, known)
        return None if item is None else _list(item)
    if is_input_object_type(kind):
        if kind.name not in known:
            known[kind.name] = None  # what is met again before it is made holds itself
            known[kind.name] = _object(kind, known)
        return known[kind.name]
    return _leaf(kind.coerce_input_value) if is_leaf_type(kind) else None


def _never_null(inner: Read) -> Read:
    def read(value: Any) -> Any:
        if value is None:
            raise Unfit
        return inner(value)

    return read


def _list(item: Read) -> Read:
    def read(value: Any) -> Any:
        if value is None:
            return None
        if type(value) is not list:
            raise Unfit
        return [item(one) for one in value]

    return read


def _leaf(coerce: Callable[[Any], Any]) -> Read:
    def read(value: Any) -> Any:
        if value is None:
            return None
        found = coerce(value)
        if found is Undefined:
            raise Unfit
        return found

    return read


def _object(kind: GraphQLInputObjectType, known: Known) -> Read | None:
    fields: list[tuple[str, str, Read, bool, Callable[[], Any]]] = []
    for name, field in kind.fields.items():
        read = _read(field.type, known)
        if read is None:
            return None
        default = lambda field=field: coerce_default_value(field)  # noqa: E731
        fields.append((name, field.out_name or name, read, is_required_input_field(field), default))
    make, is_one_of = kind.out_type, kind.is_one_of

    def read_object(value: Any) -> Any:
        if value is None:
            return None
        if type(value) is not dict:
            raise Unfit
        found: dict[str, Any] = {}
        count = 0
        for name, out, read, is_required, default in fields:
            if name in value:
                count += 1
                found[out] = read(value[name])
            elif is_required:
                raise Unfit
            elif (fallback := default()) is not Undefined:
                found[out] = fallback
        if count != len(value) or (is_one_of and (len(found) != 1 or None in found.values())):
            raise Unfit
        return make(found)

    return read_object
