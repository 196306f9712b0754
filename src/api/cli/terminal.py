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
    """Name this machine's time zone: `UTC-03:00`, and its abbreviation where it has one."""
    now = datetime.now().astimezone()
    offset, name = now.isoformat()[-6:], now.tzname() or ""
    if offset == "+00:00":
        return "UTC"
    return f"UTC{offset} ({name})" if name.isalpha() else f"UTC{offset}"


def name_zone(tell: Callable[[str], None]) -> None:
    """Say whose clock the times are of: once, and only where some were shown."""
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


# How a command says that it could not do what it was asked: in words that end with what to do, and an exit status.


class Exit(IntEnum):
    """What the process says to its caller."""

    OK = 0
    FAILED = 1
    USAGE = 2
    NOT_CONFIGURED = 3


class Failure(Exception):
    """An expected failure; the message ends with what to do about it."""

    def __init__(self, message: str, status: Exit = Exit.FAILED) -> None:
        super().__init__(in_local_time(message))
        self.status = status


# Asking before something is done that cannot be undone.


yes_option = click.option("--yes", is_flag=True, help="Do not ask.")


def confirm(question: str, *, yes: bool) -> None:
    """Return when it is meant; raises Failure where nobody can be asked, and ends the command where it is not."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise Failure(f"{question} Nobody can be asked here: say --yes if it is meant.")
    click.confirm(question, abort=True)


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


_CONTROLS = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


class Screen(Console):
    """A console on which what the API says of times is said by this machine's clock, as all else.

    What others wrote is printed as text: it never reaches the terminal as a command to it.
    """

    def print(self, *objects: Any, **options: Any) -> None:
        super().print(*(harmless(in_local_time(one)) if isinstance(one, str) else one for one in objects), **options)


def screen(*, stderr: bool = False) -> Screen:
    """Return where lines are printed: coloured for a person, plain and never broken for a machine."""
    return Screen(stderr=stderr, highlight=False, markup=False, emoji=False, soft_wrap=True)


def harmless(text: str) -> str:
    """Show control characters, and marks that turn the direction of a line, as the replacement character."""
    return _CONTROLS.sub("\ufffd", text)


def as_json(value: Any, *, indent: int | None = None) -> str:
    """Write JSON as people read it; control characters that it allows as they are become escapes."""
    written = json.dumps(value, ensure_ascii=False, indent=indent)
    return _CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", written)


def print_json(value: Any) -> None:
    """Print a value as JSON a person can read."""
    sys.stdout.write(as_json(value, indent=2) + "\n")
