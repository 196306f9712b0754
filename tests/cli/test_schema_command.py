"""The schema in the code and the schema in the file."""

import re
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from graphql import build_schema

from api.cli import interalpha as program
from api.cli import schema
from api.cli.schema import Weight, changes


def test_what_print_writes_is_what_check_accepts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "schema.graphql"
    monkeypatch.setattr(schema, "_file", lambda: file)
    assert "schema print" in CliRunner().invoke(program, ["schema", "check"]).stderr
    file.write_text(CliRunner().invoke(program, ["schema", "print"]).stdout)
    assert CliRunner().invoke(program, ["schema", "check"]).exit_code == 0


def test_a_difference_is_shown_and_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "schema.graphql"
    monkeypatch.setattr(schema, "_file", lambda: file)
    file.write_text("type Query {\n  gone: Int\n}\n")
    result = CliRunner().invoke(program, ["schema", "check"])
    assert result.exit_code == 1
    assert "-  gone: Int" in result.stdout
    assert "+++ the code" in result.stdout


def diff(old: str, tmp_path: Path) -> Result:
    file = tmp_path / "old.graphql"
    file.write_text(old)
    return CliRunner().invoke(program, ["schema", "diff", "--against", str(file)])


@pytest.fixture(scope="module")
def printed() -> str:
    return CliRunner().invoke(program, ["schema", "print"]).stdout


def test_nothing_changed_against_the_schema_itself(printed: str, tmp_path: Path) -> None:
    result = diff(printed, tmp_path)
    assert (result.exit_code, result.stdout) == (0, "✓ Nothing changed for clients.\n")


def test_what_was_taken_away_breaks_clients(printed: str, tmp_path: Path) -> None:
    old = printed.replace("type MessageEdge {\n", "type MessageEdge {\n  gone: Int\n", 1)
    result = diff(old, tmp_path)
    assert result.exit_code == 1
    assert "breaking   Field MessageEdge.gone was removed." in result.stdout
    assert "1 of 1 changes break clients" in result.stderr


def test_a_new_value_of_an_enum_is_dangerous_and_a_new_field_safe(printed: str, tmp_path: Path) -> None:
    assert "  UNCONFIRMED\n" in printed
    assert "  cursor: String!\n" in printed
    fewer = re.sub(r'(  """(?:(?!""").)*"""\n)?  UNCONFIRMED\n', "", printed, count=1, flags=re.DOTALL)
    result = diff(fewer.replace("  cursor: String!\n", "", 1), tmp_path)
    assert result.exit_code == 0
    assert "dangerous  Enum value AttemptOutcome.UNCONFIRMED was added." in result.stdout
    assert re.search(r"safe +\w+Edge.cursor was added\.", result.stdout)
    assert "✓ 2 changes, none of which breaks a client." in result.stdout


def test_a_field_that_may_be_missing_now_breaks_clients(printed: str, tmp_path: Path) -> None:
    old = printed.replace("  endCursor: String\n", "  endCursor: String!\n", 1)
    assert "PageInfo.endCursor changed type from String! to String" in diff(old, tmp_path).stdout


def test_a_deprecation_is_reported(printed: str) -> None:
    old = build_schema("type Query { a: Int b: Int }")
    new = build_schema('type Query { a: Int @deprecated(reason: "Use b.") b: Int }')
    assert [(one.weight, one.sentence) for one in changes(old, new)] == [
        (Weight.SAFE, "Query.a was deprecated: Use b.")
    ]


def test_a_commit_can_be_compared_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, printed: str) -> None:
    def git(*words: str) -> None:
        identity = ["-c", "user.name=Ana", "-c", "user.email=ana@example.com"]
        subprocess.run(["git", *identity, *words], cwd=tmp_path, check=True, capture_output=True)

    file = tmp_path / "schema.graphql"
    file.write_text(printed.replace("type MessageEdge {\n", "type MessageEdge {\n  gone: Int\n", 1))
    git("init")
    git("add", ".")
    git("commit", "-m", "Older")
    file.write_text(printed)
    monkeypatch.setattr(schema, "_file", lambda: file)
    assert CliRunner().invoke(program, ["schema", "diff"]).exit_code == 0
    assert (
        "MessageEdge.gone was removed." in CliRunner().invoke(program, ["schema", "diff", "--against", "HEAD"]).stdout
    )


@pytest.mark.parametrize("against", ["no-such-thing", "--output=x", "HEAD~999"])
def test_an_argument_that_is_neither_a_file_nor_a_commit_is_reported(against: str) -> None:
    result = CliRunner().invoke(program, ["schema", "diff", f"--against={against}"])
    assert result.exit_code != 0
    assert "neither a file nor a commit" in result.stderr


def test_a_file_without_a_schema_is_reported(tmp_path: Path) -> None:
    assert "holds no schema" in diff("type {", tmp_path).stderr
