"""Import contracts, and that our package names are ours."""

import ast
import subprocess
import sys
from importlib.metadata import packages_distributions
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.house.sources import ROOT, SRC

OURS = ["api", "core", "devkit", "engine", "integrations", "resolvers"]


def lint_imports(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)


def test_the_import_contracts_are_kept() -> None:
    result = lint_imports(ROOT)
    assert result.returncode == 0, result.stdout
    assert " 0 broken" in result.stdout


def test_a_broken_contract_would_be_noticed(tmp_path: Path) -> None:
    (tmp_path / "rules.ini").write_text(
        "[importlinter]\nroot_packages =\n    api\n    core\n"
        "[importlinter:contract:1]\nname = nobody composes\ntype = forbidden\n"
        "source_modules = api\nforbidden_modules = core\n"
    )
    assert lint_imports(tmp_path, "--config", "rules.ini").returncode == 1


@pytest.mark.parametrize("name", OURS)
def test_our_packages_are_imported_from_src(name: str) -> None:
    spec = find_spec(name)
    assert spec is not None
    assert spec.origin == str(SRC / name / "__init__.py")


def test_no_other_distribution_has_a_top_level_name_of_ours() -> None:
    owners = packages_distributions()
    assert "strawberry" in owners
    assert {name: owner for name in OURS for owner in owners.get(name, []) if owner != "interalpha"} == {}


def test_no_test_folder_is_named_like_a_package_of_ours() -> None:
    assert {path.name for path in (ROOT / "tests").iterdir() if path.is_dir()}.isdisjoint(OURS)


def test_no_test_file_imports_another() -> None:
    """Shared parts of tests are in a conftest or in a module with a plain name, such as factories."""
    found = {
        str(path.relative_to(ROOT)): name
        for path in sorted((ROOT / "tests").rglob("*.py"))
        for name in imported_modules(path)
        if name.startswith("tests.") and any(part.startswith("test_") for part in name.split("."))
    }
    assert found == {}


def imported_modules(path: Path) -> list[str]:
    """The modules a file imports, and what it imports from them, in case that is a module."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [one.name for one in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            found += [f"{node.module}.{one.name}" for one in node.names]
    return found
