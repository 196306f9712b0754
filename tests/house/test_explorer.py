"""The Explorer: its examples are valid, and its lock file names no hosts."""

import json
from pathlib import Path

import pytest
from graphql import build_schema, parse, validate

from core.templates.starters import STARTERS
from devkit.pages import is_new_enough
from resolvers.global_ids import to_global_id
from tests.house.sources import ROOT

WEB = ROOT / "web"
EXAMPLES = sorted((WEB / "graphiql" / "examples").glob("*.graphql"))


def test_there_are_examples_to_judge() -> None:
    assert len(EXAMPLES) >= 5


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_every_example_is_one_operation_that_fits_the_schema(example: Path) -> None:
    document = parse(example.read_text())
    assert validate(build_schema((ROOT / "schema.graphql").read_text()), document) == []
    assert len(document.definitions) == 1


def test_the_example_with_a_template_names_one_that_is_there() -> None:
    [example] = [path for path in EXAMPLES if "template" in path.stem]
    ids = {to_global_id("Template", starter.id.bytes) for starter in STARTERS}
    assert any(f'"{id}"' in example.read_text() for id in ids)


def test_the_lock_names_versions_and_hashes_and_no_hosts() -> None:
    packages = json.loads((WEB / "package-lock.json").read_text())["packages"]
    assert [name for name, one in packages.items() if name and not (one["version"] and one["integrity"])] == []
    assert [name for name, one in packages.items() if "resolved" in one] == []


def test_every_package_has_one_exact_version() -> None:
    told = json.loads((WEB / "package.json").read_text())
    versions = [*told["dependencies"].values(), *told["devDependencies"].values()]
    assert [version for version in versions if not version[0].isdigit()] == []


@pytest.mark.parametrize("version", ["v20.19.0", "v20.20.2", "v22.12.0", "v24.19.0"])
def test_a_node_that_vite_runs_on_will_do(version: str) -> None:
    assert is_new_enough(f"{version}\n")


@pytest.mark.parametrize("version", ["v18.20.4", "v20.18.3", "v21.7.3", "v22.11.0", "", "Illegal instruction"])
def test_an_older_node_will_not(version: str) -> None:
    assert not is_new_enough(version)
