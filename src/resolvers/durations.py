"""Lengths of time as ISO 8601 writes them, from weeks to seconds; months and years differ too much."""

import re
from datetime import timedelta

LONGEST = timedelta(days=3_660)
_WEEKS = re.compile(r"P(\d{1,5})W", re.ASCII)
_PARTS = re.compile(
    r"P(?=.)(?:(?P<days>\d{1,5})D)?"
    r"(?:T(?=.)(?:(?P<hours>\d{1,6})H)?(?:(?P<minutes>\d{1,8})M)?(?:(?P<seconds>\d{1,10}(?:\.\d{1,3})?)S)?)?",
    re.ASCII,
)


def parse_duration(text: str) -> timedelta | None:
    """Read a duration; None for what is none, or is longer than ten years."""
    if weeks := _WEEKS.fullmatch(text):
        found = timedelta(weeks=int(weeks[1]))
    elif parts := _PARTS.fullmatch(text):
        found = timedelta(**{name: float(number) for name, number in parts.groupdict("0").items()})
    else:
        return None
    return found if found <= LONGEST else None


def format_duration(duration: timedelta) -> str:
    """Write a duration in its shortest form, to the millisecond: PT0S, PT1H30M, P1DT0.5S."""
    milliseconds = round(duration / timedelta(milliseconds=1))
    days, milliseconds = divmod(milliseconds, 86_400_000)
    hours, milliseconds = divmod(milliseconds, 3_600_000)
    minutes, milliseconds = divmod(milliseconds, 60_000)
    seconds = f"{milliseconds / 1000:.3f}".rstrip("0").rstrip(".")
    date = f"{days}D" if days else ""
    clock = (
        (f"{hours}H" if hours else "") + (f"{minutes}M" if minutes else "") + (f"{seconds}S" if milliseconds else "")
    )
    if not date and not clock:
        return "PT0S"
    return f"P{date}T{clock}" if clock else f"P{date}"
