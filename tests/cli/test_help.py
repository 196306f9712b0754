"""Help is fast and complete; wrong usage is reported."""

import pkgutil
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

import api.cli
from api.cli import interalpha as program
from api.cli.commands import Deferred

HEAVY = ("litestar", "strawberry", "sqlalchemy", "aiohttp", "httpx", "pydantic", "alembic", "asyncpg")


def test_help_lists_every_command_and_imports_nothing_heavy() -> None:
    code = f"""
import sys
from api.cli import interalpha
interalpha(["--help"], standalone_mode=False)
sys.exit(",".join(name for name in {HEAVY} if name in sys.modules) or 0)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=20, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    names = listed(done.stdout)
    own = [name for name, (_, words, _) in sorted(declared().items(), key=lambda one: one[1][2]) if words is not None]
    assert names == ["dev", "reset", *own]
    assert own[:4] == ["serve", "worker", "check", "send"]
    assert own[-1] == "schema"


def listed(help_text: str) -> list[str]:
    """The commands that a help lists."""
    return [line.split()[1] for line in help_text.splitlines() if line.startswith("│ ") and line[2].isalpha()]


def declared() -> dict[str, tuple[str, str | None, int]]:
    """What the modules declare, as it is when they are imported."""
    modules = [import_module(f"api.cli.{one.name}") for one in pkgutil.iter_modules(api.cli.__path__)]
    return {name: line for module in modules for name, line in getattr(module, "COMMANDS", {}).items()}


def test_every_command_has_help(subtests: pytest.Subtests) -> None:
    for command in ["dev", "reset", *declared()]:
        with subtests.test(command):
            result = CliRunner().invoke(program, [command, "--help"])
            assert result.exit_code == 0
            assert f"interalpha {command}" in result.stdout


def add_modules(monkeypatch: pytest.MonkeyPatch, folder: Path, **declarations: str) -> None:
    """Add a folder to the command line, with a module for each of these declarations."""
    for module, declaration in declarations.items():
        lines = ["import click", declaration, "@click.command()", "def command(): click.echo('No parcels.')"]
        (folder / f"{module}.py").write_text("\n".join(lines))
        monkeypatch.delitem(sys.modules, f"api.cli.{module}", raising=False)
    monkeypatch.setattr(api.cli, "__path__", [*api.cli.__path__, str(folder)])


def test_a_file_in_one_more_folder_adds_its_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    add_modules(monkeypatch, tmp_path, parcels='COMMANDS = {"parcels": ("command", "List parcels.", 65)}')
    names = listed(CliRunner().invoke(program, ["--help"]).stdout)
    assert names[names.index("messages") :][:3] == ["messages", "parcels", "listen"]
    assert "api.cli.parcels" not in sys.modules
    assert CliRunner().invoke(program, ["parcels"]).stdout == "No parcels.\n"


def test_a_declaration_that_does_not_fit_is_refused_by_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    good, unreadable = '{"parcels": ("command", "List parcels.", 65)}', "must declare its commands as COMMANDS = {"
    cases: list[tuple[dict[str, str], list[str]]] = [
        ({"one": f"COMMANDS = {good}", "two": f"COMMANDS = {good}"}, ["one.py", "two.py", "the command parcels"]),
        ({"mine": f"COMMANDS = {good}".replace("parcels", "send")}, ["send.py", "mine.py", "the command send"]),
        ({"send": f"COMMANDS = {good}"}, ["send.py", "api.cli.send"]),
        ({"one": "COMMANDS: dict = {}"}, ["one.py", unreadable]),
        ({"one": "COMMANDS = dict(parcels=1)"}, ["one.py", unreadable]),
        ({"one": 'COMMANDS = {"parcels": ("command", "List parcels.")}'}, ["one.py", unreadable]),
        ({"one": 'COMMANDS = {"parcels": ("command", "List parcels.", "65")}'}, ["one.py", unreadable]),
        ({"one": 'COMMANDS = {"parcels": ("command", WORDS, 65)}'}, ["one.py", unreadable]),
    ]
    for number, (modules, told) in enumerate(cases):
        (folder := tmp_path / str(number)).mkdir()
        with monkeypatch.context() as patch:
            add_modules(patch, folder, **modules)
            for arguments in (["--help"], ["check", "--help"]):
                result = CliRunner().invoke(program, arguments)
                assert (result.exit_code, result.stdout) == (1, ""), (modules, arguments)
                assert all(words in result.stderr for words in ["✗ ", *told]), result.stderr


def commands(command: click.Command | None, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every command there is, as it is typed."""
    yield path
    if isinstance(command, Deferred):
        command = command.load()
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            yield from commands(command.get_command(context, name), (*path, name))


def help_of(path: tuple[str, ...], columns: int) -> list[str]:
    result = CliRunner(env={"COLUMNS": str(columns)}).invoke(program, [*path, "--help"], prog_name="interalpha")
    assert result.exit_code == 0
    return result.stdout.splitlines()


def words(lines: list[str]) -> set[str]:
    return {word for line in lines for word in re.findall(r"[^\s│╭╮╰╯─]+", line)}


def test_no_help_breaks_a_word_on_any_terminal() -> None:
    found = list(commands(program))
    assert {("messages", "list"), ("batch", "send"), ("api-keys", "create"), ("listen",)} <= set(found)
    for path in found:
        whole = words(help_of(path, 1_000))
        for columns in (60, 80, 100, 120):
            lines = help_of(path, columns)
            assert words(lines) - whole == set(), (path, columns)
            assert max(map(len, lines)) <= columns, (path, columns)


WRONG_USAGE = [
    ["fly"],
    ["send", "pigeon", "x", "y"],
    ["send", "sms", "+5511987654321"],
    ["dev", "--port", "70000"],
    ["dev", "--memory", "--data", "x"],
    ["token", "--tenant", "me"],
    ["messages", "list", "--limit", "0"],
    ["messages", "list", "--status", "flying"],
    ["messages", "list", "--since", "soon"],
    ["messages", "list", "--since", "1h", "--until", "2h"],
    ["messages", "cancel"],
    ["send", "sms", "+5511987654321", "x", "--at", "2026-12-01", "--in", "2h"],
    ["send", "sms", "+5511987654321", "x", "--route", "pigeon"],
    ["send", "sms", "+5511987654321", "x", "--route", "email"],
    ["batch", "send", "/nowhere.csv"],
    ["listen", "--direction", "sideways"],
    ["trigger"],
    ["trigger", "sms.inbound", "--list"],
    ["trigger", "sms.inbound", "--with", "x"],
    ["listen", "--channel", "pigeon"],
    ["listen", "--forward-to", "http://example.com/hook"],
    ["replay"],
    ["replay", "x", "--failed"],
    ["replay", "x", "--since", "1h"],
    ["dead-letters", "requeue"],
]


def test_wrong_usage_is_status_2(subtests: pytest.Subtests) -> None:
    for arguments in WRONG_USAGE:
        with subtests.test(" ".join(arguments)):
            result = CliRunner().invoke(program, arguments)
            assert result.exit_code == 2
            assert result.stdout == ""


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["dev", "--port", "abc"], "abc is not a port: use a number from 1 to 65535"),
        (["serve", "--port", "0"], "0 is not a port"),
        (["send", "sms", "+5511987654321", "-5 reais"], "after --: interalpha send sms TO --"),
        (["send", "sms", "+5511987654321", ""], "TEXT is empty"),
        (["send", "email", "ana@example.com", ""], "--subject"),
        (["send", "sms", "+5511987654321", "caf\udce9"], "✗ TEXT is not valid UTF-8"),
        (["send", "email", "ana@example.com", "x", "--subject", "caf\udce9"], "✗ --subject is not valid UTF-8"),
        (["messages", "show", "caf\udce9"], "✗ ID is not valid UTF-8"),
        (["replay", "--failed", "--since", "soon"], "write it as 90s, 30m, 1h or 2d"),
        (["messages", "list", "--since", "ontem"], "write it as 2026-12-01 or 2026-12-01T09:30, or as 30m"),
        (["send", "sms", "+5511987654321", "x", "--at", "2h"], "write it as 2026-12-01 or 2026-12-01T09:30."),
        (["send", "sms", "+5511987654321", "x", "--route", "whatsapp:soon,sms"], "write it like whatsapp:30m,sms"),
    ],
)
def test_wrong_usage_is_explained_in_plain_language(arguments: list[str], words: str) -> None:
    result = CliRunner(env={"COLUMNS": "200"}).invoke(program, arguments, prog_name="interalpha")
    assert (result.exit_code, result.stdout) == (2, "")
    assert words in result.stderr


def test_a_port_that_is_none_is_wrong_usage(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PORT", "eight thousand")
    result = CliRunner().invoke(program, ["dev"])
    assert (result.exit_code, result.stdout) == (2, "")
    assert "PORT" in result.stderr
