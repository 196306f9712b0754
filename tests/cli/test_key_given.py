"""Commands that call the API with a given key, as production requires."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from api.cli import interalpha as program
from core.access.api_key_lookup import KeyKind, generate_key
from tests.cli.processes import Dev, Run

NAME = "INTERALPHA_API_KEY"
PRODUCTION = {"APP_ENV": "production", "PUBLIC_BASE_URL": "https://api.example.com"}


def made(run: Run, *scopes: str) -> str:
    given = [part for scope in scopes for part in ("--scope", scope)]
    done = run("api-keys", "create", "--name", "terminal", *given)
    assert done.exit_code == 0, done.stderr
    return str(done.stdout.strip())


@pytest.fixture
def in_production(dev: Dev, run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """A terminal that has no part in the running `dev`: nothing but the address of its server."""
    for name, value in PRODUCTION.items():
        monkeypatch.setenv(name, value)
    for name, value in {"DATABASE_URL": "postgresql://x@127.0.0.1:9/x", "REDIS_URL": "redis://127.0.0.1:9/0"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("ENCRYPTION_KEYS", f"k9:{'A' * 43}=")
    monkeypatch.setenv("INTERALPHA_HOME", str(tmp_path / "nothing"))
    return f"http://127.0.0.1:{dev.port}"


@pytest.fixture
def key(run: Run) -> str:
    """Made before the terminal moves away."""
    return made(run, "all")


@pytest.mark.parametrize("by_file", [False, True])
def test_in_production_a_person_is_erased_and_messages_are_listed_with_a_key(
    key: str, in_production: str, run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, by_file: bool
) -> None:
    (tmp_path / "key").write_text(f"{key}\n")
    monkeypatch.setenv(*((f"{NAME}_FILE", str(tmp_path / "key")) if by_file else (NAME, key)))
    for arguments in (("messages", "list"), ("erase", "+5511987650111", "--yes"), ("dead-letters", "list")):
        done = run(*arguments, "--url", in_production)
        assert done.exit_code == 0, done.stderr
        assert key not in done.stdout + done.stderr


def test_without_one_it_is_said_how_to_get_one(in_production: str, run: Run) -> None:
    done = run("messages", "list", "--url", in_production)
    assert (done.exit_code, done.stdout) == (1, "")
    assert f"{NAME}_FILE" in done.stderr
    assert "interalpha api-keys create" in done.stderr


def test_a_key_may_do_what_its_scopes_say_and_no_more(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(NAME, made(run, "MESSAGES_READ"))
    assert run("messages", "list").exit_code == 0
    refused = run("erase", "+5511987650111", "--yes")
    assert refused.exit_code == 1
    assert "OPERATIONS_WRITE" in refused.stderr


@pytest.mark.parametrize(
    "value", ["nonsense-nonsense", generate_key(KeyKind.LIVE)[0]], ids=["nonsense", "of another server"]
)
def test_a_rejected_key_is_named_by_its_variable_and_not_shown(
    run: Run, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv(NAME, value)
    done = run("messages", "list")
    assert (done.exit_code != 0, done.stdout, NAME in done.stderr) == (True, "", True)
    assert value not in done.stderr
    assert "ENCRYPTION_KEYS" not in done.stderr


def test_a_key_is_accepted_from_one_place_only(run: Run, monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    monkeypatch.setenv(NAME, key)
    monkeypatch.setenv(f"{NAME}_FILE", "/nowhere")
    done = run("messages", "list")
    assert done.exit_code == 3
    assert f"{NAME}_FILE is set, and so is {NAME}" in done.stderr


@pytest.mark.parametrize("arguments", [(), ("erase",), ("messages", "list"), ("replay",), ("send", "sms")])
def test_help_says_where_it_comes_from(arguments: tuple[str, ...]) -> None:
    assert NAME in CliRunner().invoke(program, [*arguments, "--help"]).stdout.replace("\n", "")
