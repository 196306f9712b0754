"""What a folder of resolvers adds to the schema: its `part.py` holds one value `PART`. There is no other list."""

import pkgutil
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from types import MappingProxyType
from typing import Any
from uuid import UUID

import resolvers
from core.errors import BrokenContribution
from resolvers.context import Info
from resolvers.fields import Node

FetchNodes = Callable[[Info, Sequence[bytes]], Awaitable[Mapping[bytes, Node]]]
"""Objects of one type by the keys in their global ids; checks the caller's scope, and leaves out what is not theirs."""


@dataclass(frozen=True, slots=True)
class SubjectType:
    """The type of a kind of subject, and how one is loaded for the caller: None where there is none for them."""

    type: type
    load: Callable[[Info, UUID], Awaitable[object | None]]


@dataclass(frozen=True, slots=True)
class SchemaPart:
    """What one folder adds. `queries`, `mutations` and `subscriptions` are types whose fields become root fields.

    `types` are those that no field returns by their own type. `extensions` gives types of other folders more fields: a
    resolver's `self` is an object of the extended type.
    """

    queries: type | None = None
    mutations: type | None = None
    subscriptions: type | None = None
    types: Sequence[type] = ()
    nodes: Mapping[str, FetchNodes] = field(default_factory=dict)
    subjects: Mapping[str, SubjectType] = field(default_factory=dict)
    extensions: Mapping[type, type] = field(default_factory=dict)


@cache
def all_parts() -> Mapping[str, SchemaPart]:
    """Return the parts by folder, in alphabetical order. Raises BrokenContribution."""
    found: dict[str, SchemaPart] = {}
    for folder in sorted(module.name for module in pkgutil.iter_modules(resolvers.__path__) if module.ispkg):
        if find_spec(f"resolvers.{folder}.part") is None:
            continue
        part = getattr(import_module(f"resolvers.{folder}.part"), "PART", None)
        if not isinstance(part, SchemaPart):
            raise BrokenContribution(f"resolvers/{folder}/part.py must define PART, a SchemaPart")
        found[folder] = part
    return MappingProxyType(found)


@cache
def all_fetchers() -> Mapping[str, FetchNodes]:
    """Return how nodes are fetched, by the name of their type. Raises BrokenContribution."""
    return _merged("node", [part.nodes for part in all_parts().values()])


@cache
def all_subjects() -> Mapping[str, SubjectType]:
    """Return the types of subjects by their kind. Raises BrokenContribution."""
    return _merged("subject", [part.subjects for part in all_parts().values()])


def _merged(what: str, given: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    merged: dict[str, Any] = {}
    for one in given:
        for name, value in one.items():
            if name in merged:
                raise BrokenContribution(f"the {what} {name} is contributed twice")
            merged[name] = value
    return MappingProxyType(merged)
