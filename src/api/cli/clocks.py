"""Times on a screen: all of them by this machine's clock, whose zone is named once."""

import re
from collections.abc import Callable
from datetime import datetime

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
