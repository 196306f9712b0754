"""Every operation of the schema has a file of tests of its own."""

import re

import pytest
from graphql import build_schema

from tests.house.sources import ROOT

SCHEMA = build_schema((ROOT / "schema.graphql").read_text())
ROOTS = [one for one in (SCHEMA.query_type, SCHEMA.mutation_type, SCHEMA.subscription_type) if one]
OPERATIONS = [name for root in ROOTS for name in root.fields]


def test_an_operation_has_tests_of_its_own(subtests: pytest.Subtests) -> None:
    for name in OPERATIONS:
        with subtests.test(name):
            snake = re.sub(r"[A-Z]", lambda letter: f"_{letter[0].lower()}", name)
            file = ROOT / "tests" / "graph" / f"test_{snake}.py"
            assert name in file.read_text(), file
