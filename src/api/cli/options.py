"""Options and arguments that several commands share."""

import re
import sys
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import rich_click as click

from api.cli.terminal import Exit, Failure


class Port(click.ParamType[int]):
    """A number from 1 to 65535."""

    name = "port"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        text = str(value)
        if not (text.isascii() and text.isdecimal()) or not 0 < int(text) < 65536:
            self.fail(f"{text} is not a port: use a number from 1 to 65535.", param, ctx)
        return int(text)


Option = TypeVar("Option", bound=Callable[..., Any])
CHANNELS = ("whatsapp", "sms", "email")
DIRECTIONS = ("outbound", "inbound")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_MOST_READ = timedelta(days=3_660)
_LENGTH = re.compile(r"([1-9][0-9]{0,4})([smhd])", re.ASCII)


class Duration(click.ParamType[timedelta]):
    """A duration: 90s, 30m, 1h, 2d."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        length = read_length(str(value))
        if length is None:
            self.fail(f"{value} is not a duration: write it as 90s, 30m, 1h or 2d.", param, ctx)
        return length


class Moment(click.ParamType[datetime]):
    """A moment, in the local time zone unless it names one; with `is_past` also a duration, meaning that long ago."""

    name = "moment"

    def __init__(self, *, is_past: bool = False) -> None:
        self._is_past = is_past

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        text = str(value).strip()
        if self._is_past and (length := read_length(text)) is not None:
            return datetime.now(UTC) - length
        try:
            return datetime.fromisoformat(text).astimezone(UTC)
        except (ValueError, OverflowError, OSError):
            also = ", or as 30m, 1h or 2d for that long ago" if self._is_past else ""
            self.fail(f"{value} is not a time: write it as 2026-12-01 or 2026-12-01T09:30{also}.", param, ctx)


class Choice(click.Choice[str]):
    """One of a few words. The help text lists them, since it wraps between words and a metavar would not."""

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str | None:
        return param.opts[-1].lstrip("-").upper() if isinstance(param, click.Option) else None


def choice(flag: str, words: Iterable[str], about: str, *, name: str | None = None) -> Callable[[Option], Option]:
    """Make an option that takes one of these words in any case; with `name`, it may be repeated."""
    listed = list(words)
    told = f"{about}: {', '.join(listed)}.{' May be repeated.' if name else ''}"
    named = [flag, name] if name else [flag]
    return click.option(*named, type=Choice(listed, case_sensitive=False), help=told, multiple=name is not None)


def read_length(text: str) -> timedelta | None:
    """Read a duration such as 30m; None for any other text."""
    match = _LENGTH.fullmatch(text)
    return None if match is None else timedelta(**{_UNITS[match[2]]: int(match[1])})


def as_duration(length: timedelta) -> str:
    """Write a duration as the API reads it; one of more than ten years, which the API never accepts, as ten years."""
    return f"PT{int(min(length, _MOST_READ).total_seconds())}S"


def as_moment(moment: datetime) -> str:
    """Write a moment as the API reads it."""
    return moment.astimezone(UTC).isoformat()


class Utf8Text(click.ParamType[str]):
    """Text in UTF-8."""

    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        text = str(value)
        try:
            text.encode()
        except UnicodeEncodeError:
            raise Failure(f"{_name(param)} is not valid UTF-8", Exit.USAGE) from None
        return text


class TextOrStdin(Utf8Text):
    """Text, or `-` to read it from standard input: Linux limits an argument to 128 KiB."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if value != "-":
            return super().convert(value, param, ctx)
        try:
            return sys.stdin.buffer.read().decode()
        except UnicodeDecodeError:
            raise Failure("standard input is not valid UTF-8", Exit.USAGE) from None


class TextLastCommand(click.RichCommand):
    """A command whose last argument may begin with a dash; its error explains how to write that."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            hint = f'Write a TEXT that begins with - after --: {ctx.command_path} TO -- "-…"'
            raise click.UsageError(f"{error.format_message()} {hint}", ctx) from None


def _name(param: click.Parameter | None) -> str:
    if isinstance(param, click.Argument):
        return param.human_readable_name
    return param.opts[-1] if param else "It"
