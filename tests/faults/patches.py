"""Replaces behaviour of the product in this process, and records that the replacement was used."""

import os
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, event

USED = "FAULT_USED"
"""The environment variable that names a file: it exists once a replacement was used."""
PACKAGES = frozenset({"api", "core", "devkit", "engine", "integrations", "resolvers"})


class NothingToSwitchOff(Exception):
    """The code no longer has what a safeguard's entry replaces."""


@dataclass(slots=True)
class Patches:
    """Replaces behaviour in this process, and puts it back."""

    undo: list[Callable[[], None]] = field(default_factory=list)

    def swap(self, old: object, new: Callable[..., object]) -> None:
        """Call `new` wherever the product calls `old`: a function, a class, a method or a property.

        Raises NothingToSwitchOff where no module or class has it.
        """
        function = old.fget if isinstance(old, property) else old
        path = str(getattr(function, "__qualname__", "")).split(".")
        owners: Iterable[object] = _product_modules()
        if len(path) == 2:
            owners = [getattr(sys.modules[str(getattr(function, "__module__", ""))], path[0])]
        places = [(owner, name) for owner in owners for name, value in list(vars(owner).items()) if value is old]
        if not places:
            raise NothingToSwitchOff(repr(old))
        recorded = _recorded(new)
        for owner, name in places:
            setattr(owner, name, property(recorded) if isinstance(old, property) else recorded)
            self.undo.append(lambda owner=owner, name=name: setattr(owner, name, old))  # type: ignore[misc]

    def rewrite(self, condition: str, instead: str) -> None:
        """Put other SQL in place of a condition, in each statement that has it."""

        def rewritten(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> tuple[str, Any]:
            if condition in statement:
                _note_use()
            return statement.replace(condition, instead), parameters

        event.listen(Engine, "before_cursor_execute", rewritten, retval=True)
        self.undo.append(lambda: event.remove(Engine, "before_cursor_execute", rewritten))

    def undo_all(self) -> None:
        """Put everything back."""
        while self.undo:
            self.undo.pop()()


def _product_modules() -> list[object]:
    return [module for name, module in list(sys.modules.items()) if name.partition(".")[0] in PACKAGES]


def _recorded(new: Callable[..., object]) -> Callable[..., object]:
    @wraps(new)
    def call(*args: object, **named: object) -> object:
        _note_use()
        return new(*args, **named)

    return call


def _note_use() -> None:
    if file := os.environ.get(USED):
        Path(file).touch()
