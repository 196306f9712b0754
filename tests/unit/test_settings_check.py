"""What `interalpha check` prints, and its exit code."""

import io
import json

import pytest
from rich.console import Console

from api.cli import check
from api.configuration import load_configuration
from tests.unit.settings_samples import STRIPE, TWILIO

STORES = {"DATABASE_URL": "postgresql://app:secret@db:5432/app", "REDIS_URL": "rediss://:secret@cache:6379/0"}


def printed(environment: dict[str, str], *, terminal: bool = False, no_color: bool = False) -> str:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=terminal, no_color=no_color, width=120)
    check.render(load_configuration(environment), console)
    return screen.getvalue()


def test_all_well_is_zero_and_anything_wrong_is_three(capsys: pytest.CaptureFixture[str]) -> None:
    assert check.run(False, {}) == 0
    assert check.run(False, {"INTERALPHA_HOEM": "only a warning"}) == 0
    assert check.run(False, {"SMTP_HOST": "half-set.example.com"}) == 3
    assert check.run(True, {"LOG_LEVEL": "loud"}) == 3
    assert "0 errors · 0 warnings" in capsys.readouterr().out


def test_the_table_shows_every_core_setting_and_every_integration() -> None:
    lines = printed({**STORES, **TWILIO, "TWILIO_API_BASE": "http://127.0.0.1:9000/twilio"}).splitlines()
    assert lines[0] == "Configuration ─ development"
    assert "✓ DATABASE_URL     postgresql://app@db:5432/app" in lines
    assert "✓ REDIS_URL        rediss://cache:6379/0" in lines
    assert "○ ENCRYPTION_KEYS  not set: `interalpha dev` brings its own" in lines
    assert "○ smtp             not configured: `interalpha dev` simulates it" in lines
    assert any(line.startswith("✓ twilio           simulated") for line in lines)
    assert lines[-1] == "0 errors · 0 warnings"


def test_complete_settings_of_what_nothing_here_speaks_to_are_said_to_be_so() -> None:
    assert "sandbox    settings complete; this version does not support it yet" in printed(STRIPE)


def test_every_problem_is_a_line_with_advice() -> None:
    lines = printed({"TWILIO_AUTH_TOKEN": "x", "LOG_LEVEL": "loud", "NEXT_PUBLIC_X": "sk_live_x"}).splitlines()
    wrong = [line for line in lines if line.startswith("✗")]
    assert [line.split()[1] for line in wrong] == ["LOG_LEVEL", "NEXT_PUBLIC_X", "twilio", "twilio", "twilio"]
    assert "✗ LOG_LEVEL        is not right: debug, info, warning or error" in wrong
    assert lines[-1] == "5 errors · 0 warnings"


def test_a_long_line_is_not_broken_for_a_machine() -> None:
    key = next(line for line in printed({"APP_ENV": "production"}).splitlines() if "openssl" in line)
    assert key.endswith('echo "k1:$(openssl rand -base64 32)"')


def test_a_person_at_a_terminal_sees_a_frame_and_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    text = printed({}, terminal=True)
    assert "╭─ Configuration ─ development" in text
    assert "\x1b[" in text


@pytest.mark.parametrize("terminal", [True, False])
def test_without_colours_the_text_is_plain(terminal: bool) -> None:
    text = printed({}, terminal=terminal, no_color=True)
    assert "╭" not in text
    assert "\x1b" not in text


def test_json_names_states_and_modes(capsys: pytest.CaptureFixture[str]) -> None:
    check.run(True, STRIPE)
    data = json.loads(capsys.readouterr().out)
    assert data["environment"] == "development"
    assert data["integrations"]["stripe"] == {"state": "COMPLETE", "mode": "SANDBOX", "spoken": False}
    assert data["integrations"]["clerk"] == {"state": "ABSENT", "mode": None, "spoken": True}
