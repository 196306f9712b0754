"""What arguments must be, and what is said when they are not."""

import re
import sys
from datetime import timedelta
from typing import Any

import rich_click as click

from api.cli.failures import Exit, Failure


class Port(click.ParamType[int]):
    """A number from 1 to 65535."""

    name = "port"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        text = str(value)
        if not (text.isascii() and text.isdecimal()) or not 0 < int(text) < 65536:
            self.fail(f"{text} is no port: give a number from 1 to 65535.", param, ctx)
        return int(text)


class Ago(click.ParamType[timedelta]):
    """A stretch of time that ends now: 90s, 30m, 1h, 2d."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        unit = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
        match = re.fullmatch(r"([1-9][0-9]{0,4})([smhd])", str(value))
        if match is None:
            self.fail(f"{value} is no stretch of time: write it as 90s, 30m, 1h or 2d.", param, ctx)
        return timedelta(**{unit[match[2]]: int(match[1])})


class Words(click.ParamType[str]):
    """Text that can be said to somebody: bytes of another encoding than UTF-8 are none."""

    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        text = str(value)
        try:
            text.encode()
        except UnicodeEncodeError:
            raise Failure(f"{_name(param)} is not valid UTF-8", Exit.USAGE) from None
        return text


class Text(Words):
    """Words, or `-` for what comes in through standard input: a command line holds 128 KiB for each argument."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if value != "-":
            return super().convert(value, param, ctx)
        try:
            return sys.stdin.buffer.read().decode()
        except UnicodeDecodeError:
            raise Failure("standard input is not valid UTF-8", Exit.USAGE) from None


class TextLast(click.RichCommand):
    """A command whose last argument may begin with a dash, and which says how."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            hint = f'A TEXT that begins with - comes after --: {ctx.command_path} TO -- "-…"'
            raise click.UsageError(f"{error.format_message()} {hint}", ctx) from None


def _name(param: click.Parameter | None) -> str:
    if isinstance(param, click.Argument):
        return param.human_readable_name
    return param.opts[-1] if param else "It"
