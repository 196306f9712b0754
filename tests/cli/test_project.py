"""Commands run in a subfolder of the project find its data and settings."""

import os
from pathlib import Path

import pytest

from api.cli import environment
from api.cli.environment import project_environment


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("INTERALPHA_HOME", raising=False)
    (tmp_path / ".interalpha").mkdir()
    (tmp_path / ".env").write_text("PORT=8123\nLOG_LEVEL=debug\n")
    (tmp_path / "examples" / "typescript").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "examples" / "typescript")
    return tmp_path


def test_a_subfolder_finds_the_data_and_the_settings_of_its_project(project: Path) -> None:
    found = project_environment()
    assert Path(found["INTERALPHA_HOME"]) == project / ".interalpha"
    assert found["PORT"] == "8123"


def test_settings_of_the_subfolder_win(project: Path) -> None:
    Path(".env").write_text("PORT=9000\n")
    found = project_environment()
    assert (found["PORT"], found["LOG_LEVEL"]) == ("9000", "debug")


def test_a_folder_that_is_named_or_has_data_is_not_searched_further(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path(".interalpha").mkdir()
    assert "INTERALPHA_HOME" not in project_environment()
    Path(".interalpha").rmdir()
    monkeypatch.setenv("INTERALPHA_HOME", "/elsewhere")
    assert project_environment()["INTERALPHA_HOME"] == "/elsewhere"


def test_data_of_another_user_is_not_taken(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment.os, "getuid", lambda: os.geteuid() + 1)
    assert "INTERALPHA_HOME" not in project_environment()
