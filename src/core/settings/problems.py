"""How something wrong with the settings is said."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """`message` says what is wrong and the mend, and never holds the value; `missing` means nothing was given."""

    setting: str
    message: str
    missing: bool = False

    def __str__(self) -> str:
        return f"{self.setting} {self.message}"


class WrongValue(ValueError):
    """A value is refused; the message is shown to people, so it says what is wrong and the mend, never the value."""
