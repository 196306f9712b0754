"""The example client agrees with the schema."""

import re

from graphql import build_schema, is_scalar_type, is_specified_scalar_type

from tests.house.sources import ROOT


def test_every_scalar_has_a_type_in_typescript() -> None:
    schema = build_schema((ROOT / "schema.graphql").read_text())
    ours = {name for name, one in schema.type_map.items() if is_scalar_type(one) and not is_specified_scalar_type(one)}
    written = (ROOT / "examples" / "typescript" / "codegen.ts").read_text()
    block = re.search(r"scalars: \{(.*?)\}", written, re.DOTALL)
    assert block is not None
    assert set(re.findall(r"(\w+):", block[1])) == ours
