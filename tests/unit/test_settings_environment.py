"""Where a setting's value comes from."""

from pathlib import Path

import pytest

from core.settings import CoreSettings, State, WrongValue, load, read_environment


def test_the_environment_wins_over_env_local_which_wins_over_env(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("A=file\nB=file\nC=file\n")
    (tmp_path / ".env.local").write_text("B=local\nC=local\n")
    assert read_environment(tmp_path, {"C": "process"}) == {"A": "file", "B": "local", "C": "process"}


def test_no_file_is_needed(tmp_path: Path) -> None:
    assert read_environment(tmp_path, {"A": "1"}) == {"A": "1"}


def test_an_empty_value_counts_as_unset(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("A=file\nB=\nC\n")
    (tmp_path / ".env.local").write_text("A\n")
    assert read_environment(tmp_path, {}) == {"A": "file"}


def test_an_empty_value_overrides_the_files_before_it(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("A=file\nB=file\n")
    for empty in ("", "  ", '""', "''", "\t"):
        assert read_environment(tmp_path, {"A": empty}) == {"B": "file"}, empty
    for empty in ("", " ", '""', "''", "' '"):
        (tmp_path / ".env.local").write_text(f"A={empty}\n")
        assert read_environment(tmp_path, {}) == {"B": "file"}, empty
        assert read_environment(tmp_path, {"A": "process"}) == {"A": "process", "B": "file"}, empty


def test_every_variable_and_its_file_can_be_unset_by_an_empty_one(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("redis://file\n")
    (tmp_path / ".env").write_text(f"SMTP_USERNAME=mailer\nREDIS_URL_FILE={secret}\n")
    environment = read_environment(tmp_path, {"SMTP_USERNAME": "", "REDIS_URL": ""})
    assert environment == {"REDIS_URL_FILE": str(secret)}
    core = load(CoreSettings, environment).value
    assert core is not None
    assert core.redis_url is not None
    assert read_environment(tmp_path, {"REDIS_URL_FILE": "", "REDIS_URL": "redis://here"}) == {
        "SMTP_USERNAME": "mailer",
        "REDIS_URL": "redis://here",
    }
    # Both have a value: it is not clear which is meant.
    both = load(CoreSettings, read_environment(tmp_path, {"REDIS_URL": "redis://here"}))
    assert [one.setting for one in both.problems] == ["REDIS_URL_FILE"]


def test_spaces_around_a_value_are_dropped(tmp_path: Path) -> None:
    assert read_environment(tmp_path, {"A": " a b \n"}) == {"A": "a b"}


def test_a_byte_order_mark_at_the_beginning_of_a_file_is_no_part_of_it(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"\xef\xbb\xbfAPP_ENV=production\n")
    (tmp_path / "secret").write_bytes(b"\xef\xbb\xbfredis://cache/0\r\n")
    assert read_environment(tmp_path, {}) == {"APP_ENV": "production"}
    core = load(CoreSettings, {"REDIS_URL_FILE": str(tmp_path / "secret")})
    assert core.state is State.COMPLETE, core.problems


def test_a_dollar_sign_in_a_password_is_kept(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("A=pa${HOME}ss$word\n")
    assert read_environment(tmp_path, {"HOME": "/root"})["A"] == "pa${HOME}ss$word"


def test_a_byte_order_mark_does_not_hide_the_first_variable(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("A=1\n", encoding="utf-8-sig")
    assert read_environment(tmp_path, {}) == {"A": "1"}


def test_a_file_that_is_not_utf8_is_named_with_advice(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("SMTP_FROM=João <joao@example.com>\n", encoding="latin-1")
    with pytest.raises(WrongValue, match=r"\.env is not UTF-8: save it"):
        read_environment(tmp_path, {})


def test_a_secret_can_be_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("redis://:secret@localhost:6379/0\n")
    core = load(CoreSettings, {"REDIS_URL_FILE": str(tmp_path / "secret")}).value
    assert core is not None
    assert core.redis_url is not None
    assert core.redis_url.get_secret_value() == "redis://:secret@localhost:6379/0"


def test_a_secret_file_that_is_not_there_is_a_problem() -> None:
    loaded = load(CoreSettings, {"REDIS_URL_FILE": "/nowhere/secret"})
    assert loaded.state is State.INVALID
    assert [problem.setting for problem in loaded.problems] == ["REDIS_URL_FILE"]


@pytest.mark.parametrize("name", ["APP_ENV", "LOG_LEVEL"])
def test_what_is_no_secret_is_not_read_from_a_file(name: str) -> None:
    assert load(CoreSettings, {f"{name}_FILE": "/nowhere"}).state is State.COMPLETE
