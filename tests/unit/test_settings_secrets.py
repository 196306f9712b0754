"""A secret setting is shown nowhere: not in problems, not in reprs, not on the screen."""

import io
import json
from collections.abc import Mapping

import pytest
from rich.console import Console

from api.cli.check import render, run
from api.configuration import Configuration, load_configuration
from core.settings import CoreSettings, describe
from integrations.registry import all_integrations
from tests.unit.settings_samples import (
    ALL_SECRETS,
    CANARY,
    CANARY_KEY,
    private_pem,
)

MARKS = (CANARY, "c4c4c4", CANARY_KEY, private_pem().splitlines()[5])
NAMES = [
    v.name for model in (CoreSettings, *(c.settings for c in all_integrations().values())) for v in describe(model)
]


def shown(configuration: Configuration) -> str:
    """Everything that can be seen of a configuration."""
    texts = [repr(configuration), str(configuration), repr(configuration.core), str(configuration.core)]
    for integration in configuration.integrations.values():
        texts += [repr(integration), str(integration.settings), repr(integration.settings)]
    for terminal in (True, False):
        screen = io.StringIO()
        render(configuration, Console(file=screen, force_terminal=terminal, width=500))
        texts.append(screen.getvalue())
    return "\n".join(texts)


def assert_nothing_leaks(environment: Mapping[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(load_configuration(environment))
    for as_json in (True, False):
        run(as_json, environment)
        text += "".join(capsys.readouterr())
    assert [mark for mark in MARKS if mark in text] == []


def test_right_secrets_are_read_and_not_shown(capsys: pytest.CaptureFixture[str]) -> None:
    configuration = load_configuration(ALL_SECRETS)
    assert configuration.problems == ()
    assert configuration.core is not None
    assert CANARY.encode() in configuration.core.sealing_keys["k1"]
    assert_nothing_leaks(ALL_SECRETS, capsys)


WRONG_VALUES = [f"{CANARY} {CANARY}", f"://{CANARY}", f"postgresql://u:{CANARY}/{CANARY}@db/app"]


def test_a_wrong_value_is_not_quoted(subtests: pytest.Subtests, capsys: pytest.CaptureFixture[str]) -> None:
    for wrong in WRONG_VALUES:
        for name in NAMES:
            with subtests.test(f"{name}: {wrong}"):
                problems = load_configuration({name: wrong}).problems
                assert CANARY not in str(problems)
                if any(problem.setting == name for problem in problems):
                    assert_nothing_leaks({name: wrong}, capsys)


def test_a_secret_cut_in_two_by_its_own_characters_is_not_shown(capsys: pytest.CaptureFixture[str]) -> None:
    for cut in ("1/", "1#", "1?", "1@", "@"):
        for name, scheme in (("DATABASE_URL", "postgresql"), ("REDIS_URL", "redis")):
            assert_nothing_leaks({name: f"{scheme}://u:{cut}{CANARY}@db/0"}, capsys)


def test_json_output_is_json_and_counts_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(True, {**ALL_SECRETS, "SMTP_TLS": CANARY}) == 3
    errors = json.loads(capsys.readouterr().out)["errors"]
    assert [error["setting"] for error in errors] == ["SMTP_TLS"]
