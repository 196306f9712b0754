"""Ids: ours sort by time and cannot be guessed; an invalid id from a client causes no failure."""

import base64
import time
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.ids import uuid7, uuid7_floor
from resolvers.global_ids import from_global_id, to_global_id, uuid_of


def test_an_id_is_a_uuid_of_version_7() -> None:
    for _ in range(100):
        made = uuid7()
        assert (made.version, made.variant) == (7, "specified in RFC 4122")


def test_ids_sort_by_the_millisecond_they_were_made_in(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    for millisecond in range(1_800_000_000_000, 1_800_000_000_100):
        monkeypatch.setattr(time, "time_ns", lambda now=millisecond: now * 1_000_000 + 999_999)
        made.append(uuid7())
    assert made == sorted(made)
    assert [one.int >> 80 for one in made] == list(range(1_800_000_000_000, 1_800_000_000_100))


def test_ids_of_one_millisecond_differ_and_grow() -> None:
    made = [uuid7() for _ in range(10_000)]
    assert len(set(made)) == 10_000
    assert made == sorted(made)


def test_the_floor_of_a_moment_is_below_its_ids_and_above_all_earlier_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    moment = datetime(2026, 11, 23, 12, tzinfo=UTC)
    milliseconds = int(moment.timestamp() * 1000)
    monkeypatch.setattr("os.urandom", lambda count: b"\x00" * count)
    monkeypatch.setattr(time, "time_ns", lambda: milliseconds * 1_000_000)
    assert uuid7() == uuid7_floor(moment)
    monkeypatch.setattr("os.urandom", lambda count: b"\xff" * count)
    monkeypatch.setattr(time, "time_ns", lambda: (milliseconds - 2_000) * 1_000_000)
    assert uuid7() < uuid7_floor(moment)


@given(st.datetimes(timezones=st.just(UTC)), st.timedeltas(timedelta(0), timedelta(days=400)))
def test_floors_keep_the_order_of_their_moments(moment: datetime, later: timedelta) -> None:
    if moment < datetime.max.replace(tzinfo=UTC) - later:
        assert uuid7_floor(moment) <= uuid7_floor(moment + later)
    assert uuid7_floor(moment).version == 7


@given(st.from_regex("[A-Za-z]{1,30}", fullmatch=True), st.binary(max_size=40))
def test_a_global_id_leads_back_to_what_it_was_made_of(type_name: str, key: bytes) -> None:
    made = to_global_id(type_name, key)
    assert from_global_id(made) == (type_name, key)
    assert made == base64.urlsafe_b64encode(f"{type_name}:".encode() + key).rstrip(b"=").decode()


@given(st.text())
def test_no_text_breaks_the_reading_of_ids(text: str) -> None:
    assert uuid_of(text, "Message") is None


def test_an_id_is_of_one_type() -> None:
    key = uuid4()
    assert uuid_of(to_global_id("Message", key.bytes), "Message") == key
    assert uuid_of(to_global_id("Message", key.bytes), "MessageCursor") is None
    assert uuid_of(to_global_id("Message", key.bytes + b"x"), "Message") is None


def test_a_huge_id_is_not_even_decoded() -> None:
    assert from_global_id(to_global_id("Message", UUID(int=0).bytes * 100)) is None
