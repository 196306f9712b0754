"""Durations: what can be written, and how they are written back."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as some

from resolvers.scalars import LONGEST, format_duration, parse_duration

READ = {
    "PT30M": timedelta(minutes=30),
    "P2W": timedelta(weeks=2),
    "P1DT12H": timedelta(days=1, hours=12),
    "PT1H2M3.5S": timedelta(hours=1, minutes=2, seconds=3.5),
    "PT90S": timedelta(seconds=90),
    "PT0S": timedelta(0),
}


@pytest.mark.parametrize("text", READ)
def test_a_duration_is_read(text: str) -> None:
    assert parse_duration(text) == READ[text]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "P",
        "PT",
        "P1DT",
        "1H",
        "P1Y",
        "P1M",
        "P1W2D",
        "-PT1H",
        "PT-1H",
        "PT1H1H",
        "P9999D",
        "pt1h",
        "PT١H",
        "PT1e3S",
    ],
)
def test_what_is_no_duration_is_refused(text: str) -> None:
    assert parse_duration(text) is None


@pytest.mark.parametrize(
    ("duration", "text"),
    [
        (timedelta(0), "PT0S"),
        (timedelta(minutes=90), "PT1H30M"),
        (timedelta(days=14), "P14D"),
        (timedelta(days=1, seconds=0.5), "P1DT0.5S"),
        (timedelta(seconds=100), "PT1M40S"),
    ],
)
def test_a_duration_is_written_in_its_shortest_form(duration: timedelta, text: str) -> None:
    assert format_duration(duration) == text


@given(some.integers(min_value=0, max_value=round(LONGEST / timedelta(milliseconds=1))))
def test_what_is_written_is_read_as_the_same(milliseconds: int) -> None:
    duration = timedelta(milliseconds=milliseconds)
    assert parse_duration(format_duration(duration)) == duration
