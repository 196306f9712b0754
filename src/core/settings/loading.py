"""Loading settings: `.env`, then `.env.local`, then the process environment, the later ones winning.

Settings are declared in groups, each a pydantic model with rules between its settings; a group is read with everything
that is wrong with it at once. A secret may be in a file, as Docker and Kubernetes mount them: NAME_FILE names the file
that holds NAME.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

from dotenv import dotenv_values
from pydantic import BaseModel, ConfigDict, ValidationError, ValidationInfo, field_validator
from pydantic_core import ErrorDetails

from core.characters import refused_in_text, refused_on_line
from core.settings.addresses import is_loopback
from core.settings.variables import Problem, Variable, WrongValue, describe, describe_field

# `docker run --env-file` keeps the quotation marks of a value.
_EMPTY = ("", '""', "''")
LARGEST = 65_536
"""Bytes of a secret's file; the longest secret is a list of keys."""


def read_environment(folder: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """Return every variable that has a value.

    An empty one counts as unset and overrides the files before it: `SMTP_USERNAME=` in the process environment leaves
    out what `.env` says. Raises WrongValue when a file cannot be read or is not UTF-8.
    """
    files = (_read_file(folder / name) for name in (".env", ".env.local"))
    merged: dict[str, str | None] = {}
    for source in (*files, environ):
        # python-dotenv returns None for a name without an equals sign, which is ignored.
        merged |= {name: text for name, text in source.items() if text is not None}
    return present(merged)


def present(source: Mapping[str, str | None]) -> dict[str, str]:
    """Keep what has a value, without the spaces around it; a pair of quotation marks holds none."""
    stripped = {name: (text or "").strip() for name, text in source.items()}
    return {name: text for name, text in stripped.items() if text not in _EMPTY}


def _read_file(path: Path) -> Mapping[str, str | None]:
    try:
        # Not interpolated: a password may hold a dollar sign. Some editors begin a file with a byte order mark.
        return dotenv_values(path, interpolate=False, encoding="utf-8-sig")
    except OSError:
        raise WrongValue(f"{path} cannot be read: look at its permissions") from None
    except UnicodeDecodeError:
        raise WrongValue(f"{path} is not UTF-8: save it in that encoding") from None


def read_secret(name: str, environment: Mapping[str, str]) -> str | None:
    """Return a secret, from its variable or from the file that NAME_FILE names; None where neither is set.

    Raises WrongValue, about NAME_FILE, where both are set or the file holds no secret.
    """
    text, path = environment.get(name), environment.get(f"{name}_FILE")
    if path is None:
        return text
    if text is not None:
        raise WrongValue(f"is set, and so is {name}: keep one of the two")
    return _read(Path(path))


def _read(path: Path) -> str:
    try:
        # Reading a pipe or a device could block, or never end.
        if not path.is_file():
            raise WrongValue("names no file that can be read: give its full path")
        with path.open("rb") as file:
            data = file.read(LARGEST + 1)
    except OSError:
        raise WrongValue("names no file that can be read: give its full path") from None
    if len(data) > LARGEST:
        raise WrongValue(f"names a file of more than {LARGEST} bytes: no secret is that long")
    try:
        text = data.decode("utf-8-sig").strip()
    except UnicodeDecodeError:
        raise WrongValue("names a file that is not UTF-8 text: write the secret into it as it is") from None
    if not text:
        raise WrongValue("names an empty file: write the secret into it, or unset the variable")
    return text


class SettingsGroup(BaseModel):
    """Settings read together by `load`, which also asks `rules`; they do not change afterwards."""

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    may_be_absent: ClassVar[bool] = False

    @classmethod
    def rules(cls, given: Mapping[str, str]) -> Iterator[Problem]:
        """Yield the problems between settings; `given` holds their texts by first name, and APP_ENV."""
        yield from ()

    @field_validator("*", mode="before")
    @classmethod
    def _has_the_right_form(cls, value: Any, info: ValidationInfo) -> Any:
        variable = describe_field(cls.model_fields[info.field_name or ""])
        if not isinstance(value, str):
            return value
        # A setting without a pattern may be a key in PEM or JSON, which has several lines; so may a list.
        find = refused_on_line if variable.matches and not variable.several else refused_in_text
        if found := find(value):
            raise WrongValue(f"contains {found[0]} at character {found[1]}; right is: {variable.fix}")
        parts = tuple(part.strip() for part in value.split(",")) if variable.several else (value,)
        if variable.matches and not all(re.fullmatch(variable.matches, part) for part in parts):
            raise WrongValue(f"is not right: {variable.fix}")
        return parts if variable.several else value


class IntegrationSettings(SettingsGroup):
    """Parent of each integration's `Settings`; where none of them is set, the provider is not used."""

    may_be_absent: ClassVar[bool] = True

    @property
    def base_addresses(self) -> tuple[str, ...]:
        """The URLs and hosts of calls to the provider."""
        raise NotImplementedError

    def is_simulated(self) -> bool:
        """Say whether every call stays on this machine."""
        return all(is_loopback(address) for address in self.base_addresses)

    def is_sandbox(self) -> bool:
        """Say whether the credentials are for the provider's own test environment."""
        return False


M = TypeVar("M", bound=SettingsGroup)


class State(StrEnum):
    """The state of a group: complete, incomplete, with wrong values, or not set at all."""

    COMPLETE = "COMPLETE"
    INCOMPLETE = "INCOMPLETE"
    INVALID = "INVALID"
    ABSENT = "ABSENT"


@dataclass(frozen=True, slots=True)
class Loaded(Generic[M]):
    """A group that was read: `value` when it is COMPLETE, else `problems`, the wrong values before the missing ones."""

    value: M | None
    state: State
    problems: Sequence[Problem] = ()


def load(model: type[M], environment: Mapping[str, str]) -> Loaded[M]:
    """Read and check a group of settings."""
    variables = describe(model)
    given = _gather(variables, present(environment))
    problems = list(given.problems)
    if model.may_be_absent and not problems and not any(v.name in given.texts for v in variables if v.default is None):
        return Loaded(None, State.ABSENT)
    value = None
    try:
        value = model.model_validate(given.texts)
    except ValidationError as error:
        fixes = {variable.name: variable.fix for variable in variables}
        problems += (_explain(detail, fixes) for detail in error.errors(include_url=False, include_input=False))
    problems += model.rules(given.texts)
    problems = [one for one in problems if not (one.missing and one.setting in given.unread)]
    if value is not None and not problems:
        return Loaded(value, State.COMPLETE)
    state = State.INCOMPLETE if all(problem.missing for problem in problems) else State.INVALID
    named = (replace(problem, setting=given.spelled.get(problem.setting, problem.setting)) for problem in problems)
    return Loaded(None, state, tuple(sorted(named, key=lambda problem: problem.missing)))


@dataclass(frozen=True, slots=True)
class _Given:
    """The settings of a group in an environment: texts by first name, and the name that each was given under.

    `unread` are those whose file holds no secret: that problem is reported, so they are not reported as missing too.
    """

    texts: dict[str, str]
    spelled: dict[str, str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    unread: set[str] = field(default_factory=set)


def _gather(variables: Sequence[Variable], environment: Mapping[str, str]) -> _Given:
    given = _Given({"APP_ENV": environment.get("APP_ENV", "development")})
    for variable in variables:
        texts: dict[str, str] = {}
        for name in (variable.name, *variable.aliases):
            try:
                text = read_secret(name, environment) if variable.secret else environment.get(name)
            except WrongValue as error:
                given.problems.append(Problem(f"{name}_FILE", str(error)))
                given.unread.add(variable.name)
                continue
            if text:
                texts[name] = text
        if len(set(texts.values())) > 1:
            given.problems.append(Problem(variable.name, f"and {variable.aliases[0]} differ: keep one of the two"))
        for name, text in list(texts.items())[:1]:
            given.texts[variable.name], given.spelled[variable.name] = text, name
    return given


def _explain(detail: ErrorDetails, fixes: Mapping[str, str]) -> Problem:
    """Turn pydantic's error into a problem; only our own messages are used, since others may quote the value."""
    name = str(detail["loc"][0])
    if detail["type"] == "missing":
        return Problem(name, f"is missing: {fixes[name]}", missing=True)
    error = detail.get("ctx", {}).get("error")
    return Problem(name, str(error) if isinstance(error, WrongValue) else f"is not right: {fixes[name]}")
