"""When the pages are built: if they are missing or older than their sources."""

import os
from pathlib import Path

import pytest

from devkit.pages import is_stale

THEN, LATER = 1_000_000_000, 1_000_000_100


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Sources, and a page built after the last of them was written."""
    sources, built = tmp_path / "web", tmp_path / "built"
    for file in (sources / "package.json", sources / "graphiql" / "main.tsx", built / "index.html"):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
        os.utime(file, (THEN, THEN))
    return sources, built


def edit(file: Path) -> None:
    file.parent.mkdir(exist_ok=True)
    file.touch()
    os.utime(file, (LATER, LATER))


def test_what_is_newer_than_its_sources_is_not_built_again(folders: tuple[Path, Path]) -> None:
    assert not is_stale(*folders)


def test_what_is_missing_is_built(folders: tuple[Path, Path]) -> None:
    (folders[1] / "index.html").unlink()
    assert is_stale(*folders)


@pytest.mark.parametrize("source", ["package.json", "graphiql/main.tsx", "graphiql/new.css"])
def test_an_edited_or_new_source_makes_it_old(folders: tuple[Path, Path], source: str) -> None:
    edit(folders[0] / source)
    assert is_stale(*folders)


@pytest.mark.parametrize("other", ["node_modules/react.js", "dist/lock"])
def test_what_the_build_itself_writes_does_not(folders: tuple[Path, Path], other: str) -> None:
    edit(folders[0] / other)
    assert not is_stale(*folders)


def test_where_there_are_no_sources_there_is_nothing_to_build(tmp_path: Path) -> None:
    assert not is_stale(tmp_path / "nowhere", tmp_path)
