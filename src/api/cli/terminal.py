"""What a command prints: results, times in the local zone, failures with their exit status, questions."""

import json
import re
import sys
from collections.abc import Callable
from datetime import datetime
from enum import IntEnum
from typing import Any

import rich_click as click
from rich.console import Console

# A moment as the API writes it into a sentence.
_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z")
_MINUTE, _HOUR, _DAY = 60, 3_600, 86_400
_shown = _told = False


def clock(moment: str, *, millis: bool = True) -> str:
    """Show an API's moment in this machine's time, with the day and the distance from UTC unless it is today."""
    global _shown
    _shown = True
    local = datetime.fromisoformat(moment).astimezone()
    precision = "milliseconds" if millis else "seconds"
    if local.date() == datetime.now().astimezone().date():
        return local.time().isoformat(precision)
    return local.isoformat(" ", precision)


def minute(moment: datetime) -> str:
    """Show a moment in this machine's time, with its day, to the minute."""
    global _shown
    _shown = True
    return f"{moment.astimezone():%Y-%m-%d %H:%M}"


def in_local_time(sentence: str) -> str:
    """Show the moments of an API's sentence as `clock` shows all others."""
    return _MOMENT.sub(lambda found: clock(found.group(), millis=False), sentence)


def zone() -> str:
    """Return the name of the local time zone: `UTC-03:00`, and its abbreviation if it has one."""
    now = datetime.now().astimezone()
    offset, name = now.isoformat()[-6:], now.tzname() or ""
    if offset == "+00:00":
        return "UTC"
    return f"UTC{offset} ({name})" if name.isalpha() else f"UTC{offset}"


def name_zone(tell: Callable[[str], None]) -> None:
    """Print the local time zone once, and only if times were shown."""
    global _told
    if _shown and not _told:
        _told = True
        tell(f"Times are local: {zone()}.")


def seconds_between(start: str, end: str) -> float:
    """Return the seconds from one of an API's moments to another."""
    return (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds()


def lasted(seconds: float) -> str:
    """Show a length of time: `0.8 s`, `2 min 5 s`, `3 h 20 min`, `2 d 4 h`."""
    whole = round(seconds)
    if whole < _MINUTE:
        return f"{seconds:.1f} s"
    if whole < _HOUR:
        return f"{whole // _MINUTE} min {whole % _MINUTE} s"
    if whole < _DAY:
        return f"{whole // _HOUR} h {whole % _HOUR // _MINUTE} min"
    return f"{whole // _DAY} d {whole % _DAY // _HOUR} h"


class Exit(IntEnum):
    """The exit status of a command."""

    OK = 0
    FAILED = 1
    USAGE = 2
    NOT_CONFIGURED = 3


class Failure(Exception):
    """An expected failure; the message ends with what to do about it."""

    def __init__(self, message: str, status: Exit = Exit.FAILED) -> None:
        super().__init__(in_local_time(message))
        self.status = status


yes_option = click.option("--yes", is_flag=True, help="Do not ask for confirmation.")


def confirm(question: str, *, yes: bool) -> None:
    """Ask the user to confirm; ends the command if they do not, and raises Failure without a terminal."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise Failure(f"{question} There is no terminal to ask for confirmation: add --yes.")
    click.confirm(question, abort=True)


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


_CONTROLS = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


class Screen(Console):
    """A console that shows the API's times in the local zone, and never passes control characters to the terminal."""

    def print(self, *objects: Any, **options: Any) -> None:
        super().print(*(harmless(in_local_time(one)) if isinstance(one, str) else one for one in objects), **options)


def screen(*, stderr: bool = False) -> Screen:
    """Return the console that lines are printed to: coloured on a terminal, plain and unwrapped elsewhere."""
    return Screen(stderr=stderr, highlight=False, markup=False, emoji=False, soft_wrap=True)


def harmless(text: str) -> str:
    """Replace control characters and bidirectional marks by the replacement character."""
    return _CONTROLS.sub("\ufffd", text)


def as_json(value: Any, *, indent: int | None = None) -> str:
    """Write JSON without escaping Unicode letters; control characters are escaped."""
    written = json.dumps(value, ensure_ascii=False, indent=indent)
    return _CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", written)


def print_json(value: Any) -> None:
    """Print a value as indented JSON."""
    sys.stdout.write(as_json(value, indent=2) + "\n")
