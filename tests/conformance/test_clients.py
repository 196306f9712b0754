"""The official audits of GraphQL over HTTP, and client libraries that frontends use, against the running system."""

import json
import shutil
from pathlib import Path

import pytest
from graphql import build_schema, parse, validate

from core.settings.values import Manifest, digest, read_manifest
from devkit.pages import Npm
from tests.conformance.conftest import HERE, Results, results_of
from tests.house.sources import ROOT
from tests.node_programs import node, run_program

AUDITS = 61
CHECKS = {
    "graphql-ws.js": 7,
    "graphql-sse.js": 4,
    "apollo.js": 6,
    "urql.js": 6,
}
RELAY_ARTIFACTS = 7
RELAY_OPERATIONS = 5


def failures(results: dict[str, str]) -> dict[str, str]:
    return {name: result for name, result in results.items() if result != "ok"}


async def test_every_audit_of_graphql_over_http_passes(results: Results) -> None:
    audited = await results("audits.js")
    assert failures(audited) == {}
    assert len(audited) == AUDITS


async def test_every_audit_passes_without_introspection(npm: Npm, closed_address: str) -> None:
    audited = await results_of(npm, "audits.js", closed_address)
    assert failures(audited) == {}
    assert len(audited) == AUDITS


@pytest.mark.parametrize(("program", "count"), CHECKS.items())
async def test_each_client_library_passes_its_checks(results: Results, program: str, count: int) -> None:
    checked = await results(program)
    assert failures(checked) == {}
    assert len(checked) == count


def test_every_program_is_run() -> None:
    assert {path.name for path in HERE.glob("*.js")} == {"audits.js", "checks.js", *CHECKS}


async def test_relay_compiles_and_what_it_persists_can_be_trusted(npm: Npm, tmp_path: Path) -> None:
    shutil.copytree(HERE / "relay", tmp_path, dirs_exist_ok=True)
    shutil.copy(ROOT / "schema.graphql", tmp_path)
    (tmp_path / "__generated__").mkdir()
    (tmp_path / "manifest.json").write_text("{}")
    compiler = HERE / "node_modules" / "relay-compiler" / "cli.js"
    await run_program([node(npm), str(compiler), "relay.config.json"], tmp_path, npm.environment, 60)
    assert len(list((tmp_path / "__generated__").glob("*.graphql.ts"))) == RELAY_ARTIFACTS
    manifest = read_manifest(str(tmp_path / "manifest.json"))
    assert isinstance(manifest, Manifest)
    assert len(manifest.documents) == RELAY_OPERATIONS
    schema = build_schema((ROOT / "schema.graphql").read_text())
    for name, document in manifest.documents.items():
        assert (digest(document), validate(schema, parse(document))) == (name, [])


def test_the_locks_name_versions_and_hashes_and_no_hosts() -> None:
    for folder in (HERE, ROOT / "examples" / "typescript"):
        packages = json.loads((folder / "package-lock.json").read_text())["packages"]
        assert [name for name, one in packages.items() if name and not (one["version"] and one["integrity"])] == []
        assert [name for name, one in packages.items() if "resolved" in one] == []
