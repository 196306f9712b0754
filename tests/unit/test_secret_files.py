"""Secrets in files, as Docker and Kubernetes mount them: every secret can be in one."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from core.settings import Problem, describe, load
from core.settings.core_settings import CoreSettings
from core.settings.loading import LARGEST
from integrations.registry import all_integrations
from tests.unit.settings_samples import ALL_SECRETS

MODELS = [CoreSettings, *(card.settings for card in all_integrations().values())]
SECRETS = [
    (model, spelling)
    for model in MODELS
    for variable in describe(model)
    if variable.secret
    for spelling in (variable.name, *variable.aliases)
]
REFERENCE = Path(__file__).parents[2] / "docs/reference/secrets.md"


def problems(name: str, environment: dict[str, str]) -> list[Problem]:
    model = next(model for model, one in SECRETS if one == name)
    return [one for one in load(model, environment).problems if one.setting == f"{name}_FILE"]


def test_there_are_secrets() -> None:
    assert len(SECRETS) >= 20


SECRET_NAMES = [name for _, name in SECRETS]


def test_every_secret_can_be_in_a_file_that_ends_with_a_line_break(subtests: pytest.Subtests, tmp_path: Path) -> None:
    for name in SECRET_NAMES:
        with subtests.test(name):
            model = next(model for model, one in SECRETS if one == name)
            (tmp_path / "secret").write_text(f"{ALL_SECRETS.get(name, 'whatever')}\r\n\n")
            without = {one: text for one, text in ALL_SECRETS.items() if one != name}
            with_file = load(model, {**without, f"{name}_FILE": str(tmp_path / "secret")})
            with_text = load(model, {**without, name: ALL_SECRETS.get(name, "whatever")})
            assert (with_file.state, with_file.value, with_file.problems) == (
                with_text.state,
                with_text.value,
                with_text.problems,
            )
            # This proves that the file was read, whatever the form of the secret.
            assert (with_file.value, with_file.problems) != (load(model, without).value, load(model, without).problems)


def test_a_secret_that_is_given_twice_is_a_problem(subtests: pytest.Subtests, tmp_path: Path) -> None:
    for name in SECRET_NAMES:
        with subtests.test(name):
            (tmp_path / "secret").write_text(ALL_SECRETS.get(name, "whatever"))
            [problem] = problems(
                name, {name: ALL_SECRETS.get(name, "whatever"), f"{name}_FILE": str(tmp_path / "secret")}
            )
            assert problem.message == f"is set, and so is {name}: keep one of the two"


def missing(path: Path) -> None:
    """Nothing is there."""


WRONG: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (missing, "names no file"),
    "a folder": (Path.mkdir, "names no file"),
    "a pipe, which would be waited for": (os.mkfifo, "names no file"),
    "a loop of links": (lambda path: path.symlink_to(path), "names no file"),
    "too large": (lambda path: path.write_text("x" * (LARGEST + 1)), "more than 65536 bytes"),
    "not text": (lambda path: path.write_bytes(b"\xff\xfe\x00"), "not UTF-8"),
    "empty": (lambda path: path.write_text(" \n"), "an empty file"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_a_file_without_a_secret_is_a_problem_with_advice(kind: str, tmp_path: Path) -> None:
    make, words = WRONG[kind]
    make(tmp_path / "secret")
    for name in ("ENCRYPTION_KEYS", "TWILIO_AUTH_TOKEN"):
        [problem] = problems(name, {f"{name}_FILE": str(tmp_path / "secret")})
        assert words in problem.message
        assert str(tmp_path) not in problem.message


def test_a_secret_whose_file_is_wrong_is_not_called_missing_besides(tmp_path: Path) -> None:
    found = load(CoreSettings, {"APP_ENV": "production", "DATABASE_URL_FILE": str(tmp_path / "nothing")}).problems
    assert [one.setting for one in found if one.setting.startswith("DATABASE_URL")] == ["DATABASE_URL_FILE"]
    assert {one.setting for one in found if one.missing} == {"PUBLIC_BASE_URL", "REDIS_URL", "ENCRYPTION_KEYS"}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("x")
    (tmp_path / "secret").chmod(0)
    assert problems("ENCRYPTION_KEYS", {"ENCRYPTION_KEYS_FILE": str(tmp_path / "secret")})


@pytest.mark.parametrize("path", ["/dev/zero", "/proc/self/mem", "\0"])
def test_what_is_no_plain_file_ends_quickly(path: str) -> None:
    assert problems("ENCRYPTION_KEYS", {"ENCRYPTION_KEYS_FILE": path})


def test_the_reference_names_every_secret() -> None:
    text = REFERENCE.read_text(encoding="utf-8")
    assert [name for _, name in SECRETS if f"`{name}`" not in text] == []
