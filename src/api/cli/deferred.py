"""Commands that are imported when they are used, and the group that finds them and reports how they failed."""

from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

import rich_click as click

from api.cli.terminal import Failure

_ENTRY_POINTS = "interalpha.cli"
"""The entry-point group in which other packages contribute commands; each names a click command."""


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
    """Lists contributed commands, then its own in the order they were given; reports a Failure without a traceback."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(dict.fromkeys([*sorted(entry_points(group=_ENTRY_POINTS).names), *self.commands]))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if own := super().get_command(ctx, cmd_name):
            return own
        for contributed in entry_points(group=_ENTRY_POINTS, name=cmd_name):
            command: click.Command = contributed.load()
            return command
        return None

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except Failure as failure:
            click.echo(f"✗ {failure}", err=True)
            ctx.exit(failure.status)
