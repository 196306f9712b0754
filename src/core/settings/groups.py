"""Settings that belong together: the model every part of the house declares its own with."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator

from core.characters import refused_in_text, refused_on_line
from core.settings.addresses import is_loopback
from core.settings.problems import Problem, WrongValue
from core.settings.variables import describe_field


class SettingsGroup(BaseModel):
    """Settings read together by `load`, which also asks `rules`; they do not change afterwards."""

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    may_be_absent: ClassVar[bool] = False

    @classmethod
    def rules(cls, given: Mapping[str, str]) -> Iterator[Problem]:
        """Yield what is wrong between the settings; `given` holds their texts by first name, and APP_ENV."""
        yield from ()

    @field_validator("*", mode="before")
    @classmethod
    def _has_the_right_form(cls, value: Any, info: ValidationInfo) -> Any:
        variable = describe_field(cls.model_fields[info.field_name or ""])
        if not isinstance(value, str):
            return value
        # What has no form of its own may be a key in PEM or JSON, which has several lines; lists may have them, too.
        find = refused_on_line if variable.matches and not variable.several else refused_in_text
        if found := find(value):
            raise WrongValue(f"contains {found[0]} at character {found[1]}; right is: {variable.mend}")
        parts = tuple(part.strip() for part in value.split(",")) if variable.several else (value,)
        if variable.matches and not all(re.fullmatch(variable.matches, part) for part in parts):
            raise WrongValue(f"is not right: {variable.mend}")
        return parts if variable.several else value


class IntegrationSettings(SettingsGroup):
    """Parent of each integration's `Settings`; none of them set means the company is not used here."""

    may_be_absent: ClassVar[bool] = True

    @property
    def base_addresses(self) -> tuple[str, ...]:
        """The addresses and hosts that calls to the company go to."""
        raise NotImplementedError

    def is_simulated(self) -> bool:
        """Say whether every call stays on this machine."""
        return all(is_loopback(address) for address in self.base_addresses)

    def is_sandbox(self) -> bool:
        """Say whether the credentials are for the company's own test environment."""
        return False
