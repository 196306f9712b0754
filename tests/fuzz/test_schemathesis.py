"""schemathesis sends requests that fit the schema to the running system; no answer may be an error of the server."""

import os
import re
import sys
from pathlib import Path

from graphql import build_schema

from tests.databases import SharedStores
from tests.house.sources import ROOT
from tests.node_programs import run_program
from tests.running_system import running_system

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES") or 25)
"""Examples for each field; use more before a release."""
_SECONDS = 600


async def test_every_request_that_fits_the_schema_is_answered(stores: SharedStores, tmp_path: Path) -> None:
    async with running_system(stores, tmp_path, CALLER_BUDGET="1000000000") as system:
        arguments = [
            str(Path(sys.executable).with_name("schemathesis")),
            "run",
            str(ROOT / "schema.graphql"),
            f"--url={system.base}/graphql",
            f"--header=authorization:Bearer {system.token}",
            f"--max-examples={EXAMPLES}",
            "--mode=positive",
            # This check takes each error with a path for one of the server; `hooks.py` checks the error code instead.
            "--exclude-checks=not_a_server_error",
        ]
        environment = {**os.environ, "SCHEMATHESIS_HOOKS": "tests.fuzz.hooks", "PYTHONPATH": str(ROOT)}
        printed = (await run_program(arguments, tmp_path, environment, _SECONDS)).decode()
    schema = build_schema((ROOT / "schema.graphql").read_text())
    assert schema.query_type is not None
    assert schema.mutation_type is not None
    fields = len(schema.query_type.fields) + len(schema.mutation_type.fields)
    assert f"Tested: {fields}" in printed, printed
    found = re.search(r"(\d+) generated, (\d+) passed\n", printed)
    assert found, printed
    # Every field passed; a field with few arguments has few examples.
    assert found[1] == found[2], printed
    assert int(found[1]) >= EXAMPLES * fields // 2, printed
