"""Which program opens the Explorer: the desktop's own, and none where there is no desktop."""

from pathlib import Path

import pytest

from devkit.commands import find_opener


@pytest.fixture(autouse=True)
def _programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("open", "xdg-open", "w3m", "www-browser"):
        (tmp_path / name).touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))


@pytest.mark.parametrize(
    ("platform", "environment", "program"),
    [
        ("darwin", {}, "open"),
        ("linux", {"DISPLAY": ":0"}, "xdg-open"),
        ("linux", {"WAYLAND_DISPLAY": "wayland-0"}, "xdg-open"),
    ],
)
def test_the_desktop_opens_it(platform: str, environment: dict[str, str], program: str) -> None:
    opener = find_opener(platform, environment)
    assert opener is not None
    assert Path(opener).name == program


def test_a_machine_without_a_screen_opens_nothing_over_the_terminal() -> None:
    assert find_opener("linux", {"TERM": "xterm", "DISPLAY": ""}) is None
