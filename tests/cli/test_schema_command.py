"""The schema in the code and the schema in the file."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from api.cli import interalpha as program
from api.cli import schema_command


def test_what_print_writes_is_what_check_accepts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "schema.graphql"
    monkeypatch.setattr(schema_command, "_file", lambda: file)
    assert "schema print" in CliRunner().invoke(program, ["schema", "check"]).stderr
    file.write_text(CliRunner().invoke(program, ["schema", "print"]).stdout)
    assert CliRunner().invoke(program, ["schema", "check"]).exit_code == 0


def test_a_difference_is_shown_and_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "schema.graphql"
    monkeypatch.setattr(schema_command, "_file", lambda: file)
    file.write_text("type Query {\n  gone: Int\n}\n")
    result = CliRunner().invoke(program, ["schema", "check"])
    assert result.exit_code == 1
    assert "-  gone: Int" in result.stdout
    assert "+++ the code" in result.stdout
