"""Declaring a setting, describing it for references and messages, and reporting a problem with it."""

from collections.abc import Sequence
from dataclasses import dataclass, is_dataclass
from enum import StrEnum
from typing import Any, cast, get_args, get_type_hints

from pydantic import AliasChoices, BaseModel, Field, SecretBytes, SecretStr
from pydantic.fields import FieldInfo


@dataclass(frozen=True, slots=True)
class Problem:
    """`message` says what is wrong and how to fix it, never the value; `missing` means that nothing was given."""

    setting: str
    message: str
    missing: bool = False

    def __str__(self) -> str:
        return f"{self.setting} {self.message}"


class WrongValue(ValueError):
    """A value is refused; the message is shown to people: what is wrong and how to fix it, never the value."""


@dataclass(frozen=True, slots=True)
class Variable:
    """An environment variable: `about` says what it is, `fix` what a valid value looks like and where to find it.

    `matches` is the pattern of its text, or of each part when it holds `several` separated by commas. `read_by` names
    the processes that read it.
    """

    name: str
    aliases: Sequence[str]
    about: str
    fix: str
    example: str
    secret: bool
    required: bool
    default: str | None
    matches: str | None
    several: bool
    read_by: str


def setting(
    *names: str,
    about: str,
    fix: str,
    example: str = "",
    default: Any = ...,
    matches: str | None = None,
    several: bool = False,
    read_by: str = "API, worker",
) -> Any:
    """Declare a field read from the first of `names` that is set; without a default it is required."""
    return Field(
        default,
        validation_alias=AliasChoices(*names),
        description=about,
        examples=[example],
        json_schema_extra={"fix": fix, "matches": matches, "several": several, "read_by": read_by},
    )


def describe(model: type[BaseModel]) -> Sequence[Variable]:
    """Return the model's variables in the order they are declared."""
    return tuple(describe_field(field) for field in model.model_fields.values())


def describe_field(field: FieldInfo) -> Variable:
    """Return the variable a field made by `setting` is read from."""
    names = cast(AliasChoices, field.validation_alias).choices
    extra = cast(dict[str, Any], field.json_schema_extra)
    return Variable(
        name=str(names[0]),
        aliases=tuple(str(name) for name in names[1:]),
        about=field.description or "",
        fix=extra["fix"],
        example=(field.examples or [""])[0],
        secret=_is_secret(field.annotation),
        required=field.is_required(),
        default=_as_text(None if field.is_required() else field.default),
        matches=extra["matches"],
        several=extra["several"],
        read_by=extra["read_by"],
    )


def _is_secret(annotation: object) -> bool:
    """Say whether a type is a secret or contains one, so that a declaration need not say it."""
    parts = get_args(annotation)
    if isinstance(annotation, type) and is_dataclass(annotation):
        parts = tuple(get_type_hints(annotation).values())
    return annotation in (SecretStr, SecretBytes) or any(_is_secret(part) for part in parts)


def _as_text(default: object) -> str | None:
    if default is None or default == ():
        return None
    if isinstance(default, bool):
        return str(default).lower()
    return str(default.value if isinstance(default, StrEnum) else default)
