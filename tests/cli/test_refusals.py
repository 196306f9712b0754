"""What commands print when they cannot start: what is missing and what to do, never a value, never a traceback."""

import asyncio
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from api.cli import interalpha as program
from devkit.embedded.folder import mark
from tests.cli.processes import PROGRAM
from tests.servers import free_port

KEY = "k1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
STORES = {
    "DATABASE_URL": "postgresql://app:hush-hush@127.0.0.1:9/app",
    "REDIS_URL": "redis://127.0.0.1:9/0",
    "ENCRYPTION_KEYS": KEY,
}


@pytest.fixture(autouse=True)
def _new_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("APP_ENV", "PORT", "INTERALPHA_HOME", *STORES):
        monkeypatch.delenv(name, raising=False)


def invoke(*arguments: str, **environment: str) -> Result:
    result = CliRunner().invoke(program, arguments, env=environment)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


@pytest.mark.parametrize("command", ["serve", "worker", "dev"])
def test_nothing_starts_on_a_half_set_integration(command: str) -> None:
    sid = "AC" + "5" * 32
    result = invoke(command, **STORES, TWILIO_ACCOUNT_SID=sid)
    assert (result.exit_code, result.stdout) == (3, "")
    assert "TWILIO_AUTH_TOKEN is missing" in result.stderr
    assert sid not in result.stderr
    assert "hush-hush" not in result.stderr


@pytest.mark.parametrize("command", ["serve", "worker"])
def test_production_commands_need_stores_and_keys(command: str) -> None:
    result = invoke(command, REDIS_URL=STORES["REDIS_URL"])
    assert (result.exit_code, result.stdout) == (3, "")
    assert "DATABASE_URL, ENCRYPTION_KEYS not set" in result.stderr
    assert "interalpha dev" in result.stderr


def test_dev_is_not_for_production() -> None:
    result = invoke("dev", **STORES, APP_ENV="production", PUBLIC_BASE_URL="https://api.example.com")
    assert result.exit_code == 3
    assert "interalpha serve" in result.stderr
    unfinished = invoke("dev", APP_ENV="production")
    assert unfinished.exit_code == 3
    assert "`dev` is for development only" in unfinished.stderr


def test_production_has_no_development_token() -> None:
    result = invoke("token", **STORES, APP_ENV="production", PUBLIC_BASE_URL="https://api.example.com")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "APP_ENV" in result.stderr


def test_without_a_key_the_token_says_what_to_start() -> None:
    result = invoke("token")
    assert (result.exit_code, result.stdout) == (3, "")
    assert "make dev" in result.stderr


def test_what_dev_left_behind_does_not_count_in_production(tmp_path: Path) -> None:
    (tmp_path / ".interalpha").mkdir()
    (tmp_path / ".interalpha" / "dev.env").write_text(f"DATABASE_URL='{STORES['DATABASE_URL']}'\n")
    assert "cannot be reached" in invoke("migrate", "status").stderr
    result = invoke("migrate", "status", **(STORES | {"DATABASE_URL": ""}), APP_ENV="production")
    assert result.exit_code == 3
    assert "DATABASE_URL is missing" in result.stderr


def test_a_full_disk_is_said_to_be_one() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([PROGRAM, "schema"], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert (
        done.stderr
        == "✗ The disk is full: part of the output could not be written. The command itself was completed.\n"
    )


class Interrupted:
    """A server that accepts messages, and a Ctrl-C while it answers."""

    is_accepting = True

    async def ask(self, query: str, variables: Mapping[str, Any]) -> dict[str, Any]:
        if not self.is_accepting:
            raise KeyboardInterrupt
        message = {"id": "M1", "channel": "SMS", "toMasked": "+55 ••••", "status": "QUEUED"}
        return {"sendMessage": {"isReplay": False, "message": message, "errors": []}}

    def follow(self, query: str, variables: Mapping[str, Any]) -> Any:
        raise KeyboardInterrupt


def test_ctrl_c_says_what_goes_on_without_the_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    server = Interrupted()

    def call(url: str | None, work: Callable[[Any], Any]) -> Any:
        return asyncio.run(work(server))

    monkeypatch.setattr("api.cli.send.call", call)
    monkeypatch.setattr("api.cli.batch.call", call)
    stopped = invoke("send", "sms", "+5511987654321", "Oi")
    assert (stopped.exit_code, "interalpha messages show M1" in stopped.stderr) == (1, True)
    server.is_accepting = False
    (tmp_path / "people.csv").write_text("to,text\n+5511987654321,Oi\n")
    stopped = invoke("batch", "send", "people.csv", "--channel", "sms")
    assert (stopped.exit_code, "sends the rest, and nothing twice" in stopped.stderr) == (1, True)


def test_a_server_that_is_not_there_is_said_to_be_so() -> None:
    result = invoke("send", "sms", "+5511987654321", "x", ENCRYPTION_KEYS=KEY, PORT=str(free_port()))
    assert (result.exit_code, result.stdout) == (1, "")
    assert "Nothing answers" in result.stderr
    assert "make dev" in result.stderr


def test_an_address_that_is_none_or_would_show_the_token_is_wrong_usage() -> None:
    for address in ("localhost:8000", "http://api.example.com"):
        result = invoke("messages", "list", "--url", address, ENCRYPTION_KEYS=KEY)
        assert (result.exit_code, result.stdout) == (2, "")
        assert "--url" in result.stderr


def test_a_database_that_is_not_there_is_said_to_be_so_without_its_password() -> None:
    for action in ("status", "up", "down"):
        result = invoke("migrate", action, *(["--yes"] if action == "down" else []), **STORES)
        assert (result.exit_code, result.stdout) == (1, "")
        assert "cannot be reached" in result.stderr
        assert "hush-hush" not in result.stderr


def test_going_back_without_anybody_to_ask_needs_yes() -> None:
    result = invoke("migrate", "down", **STORES)
    assert result.exit_code == 1
    assert "--yes" in result.stderr


def test_settings_that_are_no_utf_8_are_named(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"SMTP_FROM=caf\xe9")
    result = invoke("check")
    assert result.exit_code == 3
    assert ".env is not UTF-8" in result.stderr


def test_reset_removes_nothing_unasked_and_nothing_that_is_not_ours(tmp_path: Path) -> None:
    assert invoke("reset", "--yes").exit_code == 0
    folder = tmp_path / ".interalpha"
    assert not folder.exists()
    folder.mkdir()
    mark(folder)
    (folder / "keys").write_text(KEY)
    (folder / "notes.txt").write_text("mine")
    refused = invoke("reset")
    assert refused.exit_code == 1
    assert "--yes" in refused.stderr
    assert (folder / "keys").exists()
    assert invoke("reset", "--yes").exit_code == 0
    assert sorted(path.name for path in folder.iterdir()) == ["lock", "notes.txt"]
    (folder / "notes.txt").unlink()
    assert invoke("reset", "--yes").exit_code == 0


def test_reset_leaves_a_folder_alone_that_was_never_ours(tmp_path: Path) -> None:
    project = tmp_path / "project"
    for name in ("logs", "postgres"):
        (project / name).mkdir(parents=True)
    (project / "keys").write_text("mine")
    for _ in range(2):
        result = invoke("reset", "--yes", "--data", str(project))
        assert (result.exit_code, result.stdout) == (1, "")
        assert "is not a data folder of Interalpha; nothing was removed" in result.stderr
    assert sorted(path.name for path in project.iterdir()) == ["keys", "logs", "postgres"]
    empty = tmp_path / "empty"
    empty.mkdir()
    assert invoke("reset", "--yes", "--data", str(empty)).exit_code == 1
    assert list(empty.iterdir()) == []


@pytest.mark.parametrize("command", [("dev", "--port"), ("reset", "--yes")])
def test_a_file_is_no_data_folder(command: tuple[str, str], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    options = [*command, *([str(free_port())] if command[0] == "dev" else [])]
    result = invoke(*options, "--data", str(tmp_path / "file"))
    assert result.exit_code == 1
    assert "is a file" in result.stderr


def test_dev_touches_no_folder_with_things_of_others(tmp_path: Path) -> None:
    (tmp_path / "project" / "logs").mkdir(parents=True)
    result = invoke("dev", "--port", str(free_port()), "--data", str(tmp_path / "project"))
    assert result.exit_code == 1
    assert "overwritten: logs" in result.stderr
    assert [path.name for path in (tmp_path / "project").iterdir()] == ["logs"]


def test_where_no_data_is_the_folder_is_named(tmp_path: Path) -> None:
    result = invoke("messages", "list")
    assert (result.exit_code, result.stdout) == (3, "")
    assert f"No data in {tmp_path / '.interalpha'}. Run this where `make dev` runs" in result.stderr


def test_in_development_check_says_what_is_simulated_and_in_production_what_will_fail() -> None:
    assert "twilio           not configured: `interalpha dev` simulates it" in invoke("check").stdout
    assert "stripe           not configured\n" in invoke("check").stdout
    assert "text messages will answer CHANNEL_NOT_CONFIGURED" in invoke("check", APP_ENV="production").stdout


def test_probing_says_who_does_not_answer() -> None:
    nobody = f"http://127.0.0.1:{free_port()}"
    twilio = {"TWILIO_AUTH_TOKEN": "0" * 32, "TWILIO_PHONE_NUMBER": "+15005550006", "TWILIO_API_BASE": nobody}
    result = invoke("check", "--probe", TWILIO_ACCOUNT_SID="AC" + "0" * 32, **twilio)
    assert result.exit_code == 1
    assert "✗ twilio" in result.stdout
