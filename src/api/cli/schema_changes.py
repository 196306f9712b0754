"""What changed between two schemas, judged by what it does to clients that were written for the older one.

Breaking: a document that was valid is no longer, or a value that was always there may be missing. Dangerous: documents
stay valid, but a client may meet what it has not seen (a new value of an enum, a new member of a union). Safe: the
rest.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from graphql import (
    GraphQLEnumType,
    GraphQLInputObjectType,
    GraphQLInterfaceType,
    GraphQLNamedType,
    GraphQLObjectType,
    GraphQLSchema,
    find_breaking_changes,
    find_dangerous_changes,
    is_required_input_field,
    is_specified_scalar_type,
)


class Weight(StrEnum):
    """What a change does to clients."""

    BREAKING = "breaking"
    DANGEROUS = "dangerous"
    SAFE = "safe"


@dataclass(frozen=True, slots=True)
class Change:
    """One change, in a sentence."""

    weight: Weight
    sentence: str


def changes(old: GraphQLSchema, new: GraphQLSchema) -> list[Change]:
    """Find every change, the worst first."""
    return [
        *(Change(Weight.BREAKING, one.description) for one in find_breaking_changes(old, new)),
        *(Change(Weight.DANGEROUS, one.description) for one in find_dangerous_changes(old, new)),
        *(Change(Weight.SAFE, sentence) for sentence in _additions(old, new)),
    ]


def _additions(old: GraphQLSchema, new: GraphQLSchema) -> Iterator[str]:
    for name, type_ in new.type_map.items():
        before = old.type_map.get(name)
        if before is None:
            if not is_specified_scalar_type(type_):
                yield f"{name} was added."
        elif type(before) is type(type_):
            yield from _of_type(before, type_)


def _of_type(before: GraphQLNamedType, now: GraphQLNamedType) -> Iterator[str]:
    if isinstance(now, GraphQLObjectType | GraphQLInterfaceType):
        yield from _new_names(now.name, getattr(before, "fields", {}), now.fields)
        yield from _deprecations(now.name, getattr(before, "fields", {}), now.fields)
    elif isinstance(now, GraphQLInputObjectType):
        known = getattr(before, "fields", {})
        # What must be given is breaking and optional fields are dangerous to graphql-core; both are told already.
        yield from (f"{now}.{name} may be left out now." for name in _relaxed(known, now))
    elif isinstance(now, GraphQLEnumType):
        yield from _deprecations(now.name, getattr(before, "values", {}), now.values)


def _new_names(place: str, before: Mapping[str, object], now: Mapping[str, object]) -> Iterator[str]:
    yield from (f"{place}.{name} was added." for name in now if name not in before)


def _deprecations(place: str, before: Mapping[str, object], now: Mapping[str, object]) -> Iterator[str]:
    for name, one in now.items():
        reason = getattr(one, "deprecation_reason", None)
        if reason and name in before and not getattr(before[name], "deprecation_reason", None):
            yield f"{place}.{name} was deprecated: {reason}"


def _relaxed(before: Mapping[str, object], now: GraphQLInputObjectType) -> Iterator[str]:
    for name, field in now.fields.items():
        known = before.get(name)
        if known is not None and is_required_input_field(known) and not is_required_input_field(field):  # type: ignore[arg-type]
            yield name
