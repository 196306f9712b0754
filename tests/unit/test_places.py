"""Cursors of a live stream: exact about what lies behind them, and nobody else's."""

import base64
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.messages.places import Place, Snapshot, read_place, write_place

ANA, BIA = UUID(int=1), UUID(int=2)
NUMBERS = st.integers(0, 10**18 - 1)
SNAPSHOTS = st.builds(Snapshot, NUMBERS, st.frozensets(NUMBERS, max_size=5))
PLACES = st.builds(Place, NUMBERS, SNAPSHOTS, st.none() | SNAPSHOTS, NUMBERS, st.booleans())


@given(PLACES)
def test_a_cursor_is_read_as_it_was_written(place: Place) -> None:
    assert read_place(write_place(place, ANA), ANA) == place


@given(PLACES)
def test_the_cursor_of_another_tenant_is_none(place: Place) -> None:
    assert read_place(write_place(place, ANA), BIA) is None


@given(st.text() | st.binary().map(lambda raw: base64.urlsafe_b64encode(raw).decode()))
def test_nonsense_is_no_cursor_and_no_crash(text: str) -> None:
    assert read_place(text, ANA) is None


@pytest.mark.parametrize(
    "change", [("7:3", "7:x"), ("1;", "2;"), ("7:3", "7"), ("7:3", "7:3,,4"), (";5", ";" + "5" * 19)]
)
def test_a_cursor_that_was_tampered_with_is_none(change: tuple[str, str]) -> None:
    cursor = write_place(Place(1, Snapshot(7, frozenset({3})), None, 5), ANA)
    text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
    assert text.replace(*change) != text
    assert read_place(base64.urlsafe_b64encode(text.replace(*change).encode()).decode(), ANA) is None


def test_snapshots_are_read_and_written_as_postgresql_does() -> None:
    assert Snapshot.from_postgres("3:9:3,5") == Snapshot(9, frozenset({3, 5}))
    assert Snapshot(9, frozenset({5, 3})).to_postgres() == "3:9:3,5"
    assert Snapshot.from_postgres("9:9:").to_postgres() == "9:9:"


def test_what_still_ran_lies_ahead_and_what_was_told_of_a_page_behind() -> None:
    place = Place(0, Snapshot(10, frozenset({4})), Snapshot(20, frozenset({15})), 100)
    assert place.is_past(3, 999)
    assert not place.is_past(4, 101)
    assert place.is_past(4, 100)
    assert place.is_past(12, 99)
    assert not place.is_past(12, 101)
    assert not place.is_past(15, 1)
    assert not place.is_past(20, 1)
