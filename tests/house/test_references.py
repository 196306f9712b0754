"""Files that are generated from the code are committed as the code makes them."""

from pathlib import Path

import rich_click as click

from api.cli import interalpha
from api.references import GENERATED, cli_reference, settings_reference
from core.settings import CoreSettings, describe
from integrations.registry import all_integrations

ROOT = Path(__file__).parents[2]


def test_the_committed_files_are_those_the_code_makes() -> None:
    old = [name for name, write in GENERATED.items() if (ROOT / name).read_text(encoding="utf-8") != write()]
    assert not old, "run: make references"


def test_the_reference_has_every_setting_once() -> None:
    text = settings_reference()
    for model in (CoreSettings, *(card.settings for card in all_integrations().values())):
        for variable in describe(model):
            assert text.count(f"\n| `{variable.name}`") == 1, variable.name


def test_each_setting_is_read_by_known_processes() -> None:
    readers = {reader for variable in describe(CoreSettings) for reader in variable.read_by.split(", ")}
    assert readers == {"API", "worker", "commands"}


def test_the_reference_has_every_command_with_its_help() -> None:
    text = cli_reference()
    context = click.RichContext(interalpha, info_name="interalpha")
    names = interalpha.list_commands(context)
    assert {"dev", "serve", "simulators"} <= set(names)
    assert [line for line in text.splitlines() if line.startswith("## ")] == [
        f"## interalpha {name}" for name in names if name != "simulators"
    ]
