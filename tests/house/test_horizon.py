"""The committed schema is the one the code makes, and a part of the planned one."""

import subprocess
import sys

import pytest
from graphql import build_schema

from resolvers.schema import print_schema
from tests.house.containment import differences
from tests.house.sources import HORIZON_SCHEMA, SCHEMA_FILE

DELIBERATE = {
    "IntegrationConfiguration.mode: IntegrationMode, not IntegrationMode!": (
        "an integration that is not configured is neither live nor simulated, and saying LIVE would be wrong"
    ),
    "LatencySummary.requestCount: Int, not Int!": "the number of calls of all tenants is the operator's",
    "LatencySummary.errorRate: Float, not Float!": "without calls there is no rate, and 0 would be wrong",
}
"""Where the schema differs from the horizon on purpose, and why."""


def test_the_schema_file_is_what_the_code_prints() -> None:
    assert print_schema() == SCHEMA_FILE, "write it anew: interalpha schema print > schema.graphql"


def test_the_schema_is_the_same_in_any_order_of_imports() -> None:
    program = "import api.http.app; from resolvers.schema import print_schema; print(print_schema(), end='')"
    served = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert served.stdout == SCHEMA_FILE


def test_the_schema_file_starts_with_an_introduction() -> None:
    assert (build_schema(SCHEMA_FILE).description or "").startswith("One API for everything")


def test_the_schema_is_contained_in_the_horizon() -> None:
    assert set(differences(build_schema(SCHEMA_FILE), build_schema(HORIZON_SCHEMA))) == DELIBERATE.keys()


OUTER = """
directive @known(level: Int! = 1) on FIELD_DEFINITION
scalar When @specifiedBy(url: "https://example.com/when")
interface Node { id: ID! }
type Query { node(id: ID!, deep: Boolean): Node, list(of: [Size!] = [SMALL], filter: Filter): [Thing!]! }
type Thing implements Node { id: ID!, size: Size, at: When }
enum Size { SMALL LARGE }
union Any = Thing | Other
type Other { any: Any }
input Filter { size: Size, exact: Boolean! = false }
input One @oneOf { a: Int, b: Int }
type Mutation { make(input: One!): Other }
"""

SPOILED = {
    "Thing.size: Size!, not Size": ("size: Size,", "size: Size!,"),
    "Thing: colour is not there": ("size: Size,", "size: Size, colour: Int,"),
    "Thing: Named is not there": ("type Thing implements Node {", "type Thing implements Node & Named {"),
    "Size: HUGE is not there": ("SMALL LARGE }", "SMALL LARGE HUGE }"),
    "Any: Query is not there": ("Thing | Other", "Thing | Other | Query"),
    "Query.node: depth is not there": ("deep: Boolean", "depth: Int"),
    "Query.node.deep: Boolean!, not Boolean": ("deep: Boolean", "deep: Boolean!"),
    "Query.node: id is required there": ("node(id: ID!, ", "node("),
    "Query.list.of: [Size!] = [LARGE], not [Size!] = [SMALL]": ("[SMALL]", "[LARGE]"),
    "Filter.exact: Boolean! = true, not Boolean! = false": ("= false", "= true"),
    "One: exactly one of its fields is given in one of the two only": ("One @oneOf", "One"),
    "When: specified by https://example.com/then, not https://example.com/when": ("com/when", "com/then"),
    "@known: OBJECT is not there": ("on FIELD_DEFINITION", "on FIELD_DEFINITION | OBJECT"),
    "@known.level: Int! = 2, not Int! = 1": ("level: Int! = 1", "level: Int! = 2"),
    "@unknown: is not there": ("directive @known(level: Int! = 1)", "directive @unknown"),
    "Node: GraphQLObjectType, not GraphQLInterfaceType": ("interface Node", "type Node"),
}


def test_a_schema_is_contained_in_itself() -> None:
    outer = build_schema(OUTER)
    assert list(differences(outer, outer)) == []


def test_a_part_is_contained_in_the_whole() -> None:
    part = OUTER.replace(", deep: Boolean", "").replace(", exact: Boolean! = false", "").replace(" LARGE", "")
    assert list(differences(build_schema(part), build_schema(OUTER))) == []


@pytest.mark.parametrize("sentence", SPOILED)
def test_every_kind_of_difference_is_noticed(sentence: str) -> None:
    right, wrong = SPOILED[sentence]
    inner = build_schema(OUTER.replace(right, wrong) + "interface Named { id: ID! }", assume_valid=True)
    found = set(differences(inner, build_schema(OUTER)))
    assert sentence in found
