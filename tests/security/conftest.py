"""The application over a database of its own, two tenants in it, and one of everything a tenant can own."""

import pytest
from graphql import GraphQLSchema

from engine.engine import Engine
from engine.limits import Limits
from resolvers.errors import translate
from resolvers.schema import build_schema
from tests.graph.callers import Caller
from tests.graph.conftest import anonymous, application, caller, factory, graph_urls, new_caller, owner, stranger
from tests.graph.factories import RecordFactory
from tests.security.belongings import (
    Belongings,
    belongings_of,
)
from tests.security.operations import OperationBuilder

__all__ = ["anonymous", "application", "caller", "factory", "graph_urls", "new_caller", "owner", "stranger"]

_FAR = 1_000_000


@pytest.fixture(scope="session")
def schema() -> GraphQLSchema:
    return build_schema()._schema


@pytest.fixture(scope="session")
def engine(schema: GraphQLSchema) -> Engine:
    """One that lets everything be asked at once."""
    limits = Limits(characters=_FAR, tokens=_FAR, depth=100, fields=_FAR, aliases=_FAR)
    return Engine(schema, translate=translate, limits=limits)


@pytest.fixture(scope="session")
def operations(schema: GraphQLSchema) -> OperationBuilder:
    return OperationBuilder(schema)


@pytest.fixture
async def theirs(caller: Caller, factory: RecordFactory) -> Belongings:
    """What belongs to `caller`; `stranger` attacks."""
    return await belongings_of(caller, factory)
