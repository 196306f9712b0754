"""Commands that are imported when they are used, and the group that says how they failed."""

from importlib import import_module
from typing import Any

import rich_click as click

from api.cli.terminal import Failure


class Deferred(click.RichCommand):
    """Stands for the attribute `command` of a module until somebody wants to run it or read its help."""

    def __init__(self, name: str, module: str, **attributes: Any) -> None:
        super().__init__(name, **attributes)
        self._module = module

    def load(self) -> click.RichCommand:
        """Import the command this one stands for."""
        command: click.RichCommand = import_module(self._module).command
        return command

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.RichContext:
        context: click.RichContext = self.load().make_context(info_name, args, parent, **extra)  # type: ignore[assignment]
        return context


class CommandGroup(click.RichGroup):
    """Lists commands in the order they were given, and ends an expected failure with its words and no traceback."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except Failure as failure:
            click.echo(f"✗ {failure}", err=True)
            ctx.exit(failure.status)
