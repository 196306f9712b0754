"""Cursors of a change feed: exact about what is behind them, and bound to their caller."""

import base64
from random import Random
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.live.cursors import Cursor, Snapshot, decode_cursor, encode_cursor

ANA, BIA = UUID(int=1), UUID(int=2)
NUMBERS = st.integers(0, 10**18 - 1)
SNAPSHOTS = st.builds(Snapshot, NUMBERS, st.frozensets(NUMBERS, max_size=5))
PLACES = st.builds(Cursor, NUMBERS, SNAPSHOTS, st.none() | SNAPSHOTS, NUMBERS, st.booleans())


@given(PLACES)
def test_a_cursor_is_read_as_it_was_written(place: Cursor) -> None:
    assert decode_cursor(encode_cursor(place, ANA), ANA) == place


@given(PLACES)
def test_the_cursor_of_another_tenant_is_none(place: Cursor) -> None:
    assert decode_cursor(encode_cursor(place, ANA), BIA) is None


@given(st.text() | st.binary().map(lambda raw: base64.urlsafe_b64encode(raw).decode()))
def test_an_invalid_cursor_is_rejected_without_a_crash(text: str) -> None:
    assert decode_cursor(text, ANA) is None


@pytest.mark.parametrize(
    "change", [("7:3", "7:x"), ("1;", "2;"), ("7:3", "7"), ("7:3", "7:3,,4"), (";5", ";" + "5" * 19)]
)
def test_a_cursor_that_was_tampered_with_is_none(change: tuple[str, str]) -> None:
    cursor = encode_cursor(Cursor(1, Snapshot(7, frozenset({3})), None, 5), ANA)
    text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
    assert text.replace(*change) != text
    assert decode_cursor(base64.urlsafe_b64encode(text.replace(*change).encode()).decode(), ANA) is None


def test_snapshots_are_read_and_written_as_postgresql_does() -> None:
    assert Snapshot.from_postgres("3:9:3,5") == Snapshot(9, frozenset({3, 5}))
    assert Snapshot(9, frozenset({5, 3})).to_postgres() == "3:9:3,5"
    assert Snapshot.from_postgres("9:9:").to_postgres() == "9:9:"


def test_running_transactions_are_ahead_of_a_cursor_and_delivered_changes_behind_it() -> None:
    place = Cursor(0, Snapshot(10, frozenset({4})), Snapshot(20, frozenset({15})), 100)
    assert place.is_past(3, 999)
    assert not place.is_past(4, 101)
    assert place.is_past(4, 100)
    assert place.is_past(12, 99)
    assert not place.is_past(12, 101)
    assert not place.is_past(15, 1)
    assert not place.is_past(20, 1)


def test_snapshots_are_older_by_what_they_show() -> None:
    line = [Snapshot(9, frozenset({3, 5})), Snapshot(9, frozenset({5})), Snapshot(12, frozenset({5, 9})), Snapshot(12)]
    for number, one in enumerate(line):
        assert [one.is_older_than(other) for other in line] == [place > number for place in range(len(line))]


@given(st.randoms(use_true_random=False))
def test_a_cursor_is_behind_exactly_the_changes_read_before_and_delivered_since(dice: Random) -> None:
    """The feed polls, a subscriber reads further, the feed polls again and delivers the rest by number."""
    events = [(transaction, sequence) for sequence, transaction in enumerate(dice.choices(range(1, 9), k=12))]
    feed, own, later = _in_one_line(dice)
    told = {event for event in events if own.shows(event[0])}
    for transaction, sequence in events:
        if later.shows(transaction) and not feed.shows(transaction) and (transaction, sequence) not in told:
            told.add((transaction, sequence))
            place = Cursor(0, feed, later, sequence).also_past(own)
            assert {event for event in events if place.is_past(*event)} == told


def _in_one_line(dice: Random) -> list[Snapshot]:
    """Snapshots as PostgreSQL takes them while the transactions 1 to 8 begin in their order and end in any."""
    ends = {number: number + dice.random() * 6 for number in range(1, 9)}
    moments = sorted(dice.random() * 15 for _ in range(3))
    ended = [{number for number, end in ends.items() if end <= moment} for moment in moments]
    # Its `xmax` is behind the highest transaction that has ended.
    xmax = [max(done, default=0) + 1 for done in ended]
    return [Snapshot(top, frozenset(range(1, top)) - done) for top, done in zip(xmax, ended, strict=True)]
