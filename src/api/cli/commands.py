"""Finds the commands: every module beside this one declares its own in `COMMANDS`. There is no other list.

    COMMANDS = {"send": ("command", "Send one message.", 40)}

means: `interalpha send` runs the click command `command` of this module. `interalpha --help` describes it with these
words, or does not list it where they are None. The number is its place in the help: smaller ones come first. The
declaration is read without importing the module, so that help comes at once: write strings and numbers only.
"""

import re
from ast import literal_eval
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import rich_click as click
from click.exceptions import Exit as ClickExit

from api.cli.terminal import Exit, Failure
from core.errors import BrokenContribution

_ENTRY_POINTS = "interalpha.cli"
"""The entry-point group in which other packages contribute commands; each names a click command."""
_DECLARATION = re.compile(r"^COMMANDS\b(?: = (\{.*?\})$)?", re.MULTILINE | re.DOTALL)


class Deferred(click.RichCommand):
    """Stands for a command until it runs or its help is read; `target` is written as "module:attribute"."""

    def __init__(self, name: str, target: str, **attributes: Any) -> None:
        super().__init__(name, **attributes)
        self._target = target

    def load(self) -> click.RichCommand:
        """Import the command this one stands for."""
        module, _, attribute = self._target.partition(":")
        command: click.RichCommand = getattr(import_module(module), attribute)
        return command

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.RichContext:
        context: click.RichContext = self.load().make_context(info_name, args, parent, **extra)  # type: ignore[assignment]
        return context


class CommandGroup(click.RichGroup):
    """Lists the commands of other packages, then those that the modules of `package` declare.

    Reports a Failure without a traceback.
    """

    def __init__(self, *args: Any, package: str, **attributes: Any) -> None:
        super().__init__(*args, **attributes)
        self._package = package

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(dict.fromkeys([*sorted(entry_points(group=_ENTRY_POINTS).names), *self._own()]))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if own := self._own().get(cmd_name):
            return own
        for contributed in entry_points(group=_ENTRY_POINTS, name=cmd_name):
            command: click.Command = contributed.load()
            return command
        return None

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.RichContext:
        try:
            context: click.RichContext = super().make_context(info_name, args, parent, **extra)  # type: ignore[assignment]
        except Failure as failure:
            click.echo(f"✗ {failure}", err=True)
            raise ClickExit(failure.status) from None
        return context

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except Failure as failure:
            click.echo(f"✗ {failure}", err=True)
            ctx.exit(failure.status)
        except BrokenContribution as error:
            click.echo(f"✗ The code of this installation does not fit together: {error}.", err=True)
            ctx.exit(Exit.FAILED)

    def _own(self) -> Mapping[str, Deferred]:
        return _declared(self._package, tuple(import_module(self._package).__path__))


class _Declared(NamedTuple):
    order: int
    name: str
    attribute: str
    words: str | None
    file: Path


@cache
def _declared(package: str, folders: Sequence[str]) -> Mapping[str, Deferred]:
    """The commands that the modules in these folders of a package declare, in their order. Raises Failure."""
    modules: dict[str, Path] = {}
    found: dict[str, _Declared] = {}
    for file in (file for folder in folders for file in sorted(Path(folder).glob("*.py"))):
        first = modules.setdefault(file.stem, file)
        for one in _declarations(file):
            if first != file:
                raise Failure(
                    f"{file} would be the module {package}.{file.stem}, which is {first}. Rename one of them."
                )
            if other := found.get(one.name):
                raise Failure(f"{other.file} and {file} both declare the command {one.name}. Rename one of them.")
            found[one.name] = one
    return MappingProxyType(
        {
            one.name: Deferred(
                one.name, f"{package}.{one.file.stem}:{one.attribute}", short_help=one.words, hidden=one.words is None
            )
            for one in sorted(found.values())
        }
    )


def _declarations(file: Path) -> list[_Declared]:
    match = _DECLARATION.search(file.read_text(encoding="utf-8"))
    if match is None:
        return []
    try:
        return [_read(file, name, *declared) for name, declared in literal_eval(match[1] or "").items()]
    except (SyntaxError, TypeError, ValueError):
        raise Failure(
            f'{file} must declare its commands as COMMANDS = {{"name": ("attribute", "Short help.", 10)}}: '
            "strings and a whole number, and None for the help of a hidden command."
        ) from None


def _read(file: Path, name: object, attribute: object, words: object, order: object) -> _Declared:
    match (name, attribute, words, order):
        case (str(), str(), str() | None, int()):
            return _Declared(order, name, attribute, words, file)
        case _:
            raise TypeError(name)
