"""Every field that needs a scope, as the schema has it: without it FORBIDDEN, without credentials UNAUTHENTICATED.

A new root field fails here until it says which scope it needs, or is in the short list of those that need none.
"""

import asyncio
from collections.abc import Iterator
from dataclasses import replace

import pytest
from graphql import GraphQLObjectType, GraphQLSchema

from core.ports.identity import Scope
from resolvers.fields import OPEN, scope_of
from resolvers.schema import build_schema
from tests.graph.callers import Caller
from tests.graph.factories import RecordFactory, global_id
from tests.security.operations import OperationBuilder

SCHEMA = build_schema()._schema
OPERATIONS = OperationBuilder(SCHEMA)
SENSITIVE = {"Message.to": Scope.CONTACTS_READ, "Message.from": Scope.CONTACTS_READ}
"""Fields further in that need a scope of their own."""


def declared(schema: GraphQLSchema) -> Iterator[tuple[str, Scope | None, str]]:
    """Every field with the scope it was declared to need, and its description."""
    for type_ in schema.type_map.values():
        if isinstance(type_, GraphQLObjectType) and not type_.name.startswith("__"):
            for name, field in type_.fields.items():
                yield f"{type_}.{name}", scope_of(field), field.description or ""


ROOTS = {f"{root}.{name}": (root.name.lower(), name) for root in OPERATIONS.roots for name in root.fields}
GUARDED = [(*ROOTS[place], scope) for place, scope, _ in declared(SCHEMA) if place in ROOTS and scope is not None]


def test_every_root_field_declares_its_scope_or_is_one_of_the_few_that_need_none() -> None:
    open_ones = {place for place, scope, _ in declared(SCHEMA) if place in ROOTS and scope is None}
    assert open_ones == OPEN == {"Query.node", "Query.nodes", "Query.viewer"}


def test_the_sensitive_fields_declare_theirs() -> None:
    assert {place: scope for place, scope, _ in declared(SCHEMA) if scope and place not in ROOTS} == SENSITIVE


def test_what_is_declared_is_what_clients_read() -> None:
    for place, scope, description in declared(SCHEMA):
        assert description.count("Needs `") == (1 if scope else 0), place
        assert scope is None or description.endswith(f"Needs `{scope}`."), place


async def code_of(somebody: Caller, operation: str, name: str) -> str:
    """The error code for a valid request for everything one root field has."""
    document, variables = OPERATIONS.document(operation, name), OPERATIONS.correct(operation, name)
    if operation != "subscription":
        return await somebody.code(document, **variables)
    following = somebody.follow(document, **variables)
    [error] = (await following.answer()).errors
    await following.close()
    return str(error["extensions"]["code"])


async def test_without_the_scope_it_is_forbidden(subtests: pytest.Subtests, caller: Caller, anonymous: Caller) -> None:
    for operation, name, scope in GUARDED:
        with subtests.test(name):
            assert caller.principal is not None
            others = replace(caller.principal, scopes=frozenset(Scope) - {scope})
            assert await code_of(replace(caller, principal=others), operation, name) == "FORBIDDEN"
            assert await code_of(anonymous, operation, name) == "UNAUTHENTICATED"


async def test_with_the_scope_it_is_not(subtests: pytest.Subtests, caller: Caller) -> None:
    """So what is refused above is refused for the scope alone."""
    for operation, name, scope in GUARDED:
        with subtests.test(name):
            assert caller.principal is not None
            holder = replace(caller, principal=replace(caller.principal, scopes=frozenset({scope})))
            document, variables = OPERATIONS.shallow(operation, name), OPERATIONS.correct(operation, name)
            if operation == "subscription":
                following = holder.follow(document, **variables)
                first = asyncio.create_task(following.answer(1))
                await asyncio.wait([first], timeout=1)
                told = first.result() if first.done() and first.exception() is None else None
                first.cancel()
                await asyncio.gather(first, return_exceptions=True)
                assert told is None or told.errors == []
            else:
                assert (await holder.answer(document, **variables)).errors == []


@pytest.mark.parametrize("place", SENSITIVE)
async def test_addresses_in_full_need_their_own_scope(caller: Caller, factory: RecordFactory, place: str) -> None:
    message = await factory.message(caller)
    document = f"query ($id: ID!) {{ message(id: $id) {{ toMasked {place.split('.')[1]} }} }}"
    assert caller.principal is not None
    others = replace(caller.principal, scopes=frozenset(Scope) - {Scope.CONTACTS_READ})
    assert await replace(caller, principal=others).code(document, id=global_id(message)) == "FORBIDDEN"
    assert (await caller.ask(document, id=global_id(message)))["message"]["toMasked"]
