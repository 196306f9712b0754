"""Reading one group of settings out of an environment, with everything that is wrong with it at once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Generic, TypeVar

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from core.settings.environment import present
from core.settings.groups import SettingsGroup
from core.settings.problems import Problem, WrongValue
from core.settings.secret_files import read_secret
from core.settings.variables import Variable, describe

M = TypeVar("M", bound=SettingsGroup)


class State(StrEnum):
    """How a group stands: all there, something missing, something wrong, or nothing of it set."""

    COMPLETE = "COMPLETE"
    INCOMPLETE = "INCOMPLETE"
    INVALID = "INVALID"
    ABSENT = "ABSENT"


@dataclass(frozen=True, slots=True)
class Loaded(Generic[M]):
    """A group that was read: `value` is there when it is COMPLETE, `problems` (the wrong before the missing) else."""

    value: M | None
    state: State
    problems: Sequence[Problem] = ()


def load(model: type[M], environment: Mapping[str, str]) -> Loaded[M]:
    """Read and check a group; a secret may also stand in a file that NAME_FILE names."""
    variables = describe(model)
    given = _gather(variables, present(environment))
    problems = list(given.problems)
    if model.may_be_absent and not problems and not any(v.name in given.texts for v in variables if v.default is None):
        return Loaded(None, State.ABSENT)
    value = None
    try:
        value = model.model_validate(given.texts)
    except ValidationError as error:
        mends = {variable.name: variable.mend for variable in variables}
        problems += (_explain(detail, mends) for detail in error.errors(include_url=False, include_input=False))
    problems += model.rules(given.texts)
    problems = [one for one in problems if not (one.missing and one.setting in given.unread)]
    if value is not None and not problems:
        return Loaded(value, State.COMPLETE)
    state = State.INCOMPLETE if all(problem.missing for problem in problems) else State.INVALID
    named = (replace(problem, setting=given.spelled.get(problem.setting, problem.setting)) for problem in problems)
    return Loaded(None, state, tuple(sorted(named, key=lambda problem: problem.missing)))


@dataclass(frozen=True, slots=True)
class _Given:
    """What an environment says about a group: texts by first name, and the name each was really given under.

    `unread` are those whose file holds no secret: that is said already, and they are not missing besides.
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


def _explain(detail: ErrorDetails, mends: Mapping[str, str]) -> Problem:
    """Turn pydantic's finding into ours; only messages written here are passed on, for others may quote the value."""
    name = str(detail["loc"][0])
    if detail["type"] == "missing":
        return Problem(name, f"is missing: {mends[name]}", missing=True)
    error = detail.get("ctx", {}).get("error")
    return Problem(name, str(error) if isinstance(error, WrongValue) else f"is not right: {mends[name]}")
