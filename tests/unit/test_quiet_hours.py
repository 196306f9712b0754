"""Quiet hours: the morning of wherever a number can be, on the days clocks are changed as well."""

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as some

from core.messages.addresses import Address
from core.messages.quiet import calm_moment, next_calm
from core.quiet_hours import NIGHT, QuietHours

SAO_PAULO, MANAUS, BERLIN = ZoneInfo("America/Sao_Paulo"), ZoneInfo("America/Manaus"), ZoneInfo("Europe/Berlin")
TOKYO = ZoneInfo("Asia/Tokyo")
PAULISTA, AMAZONIAN = Address("phone", "+5511987654321"), Address("phone", "+5592987654321")
TOLL_FREE, MAILBOX = Address("phone", "+18005551234"), Address("email", "ana@example.com")


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


@pytest.mark.parametrize(
    ("moment", "address", "expected"),
    [
        # By day nothing is kept.
        ("2026-11-23T15:00-03:00", PAULISTA, "2026-11-23T15:00-03:00"),
        ("2026-11-23T20:59-03:00", PAULISTA, "2026-11-23T20:59-03:00"),
        # In the evening and before dawn it waits for eight o'clock there.
        ("2026-11-23T21:00-03:00", PAULISTA, "2026-11-24T08:00-03:00"),
        ("2026-11-23T03:30-03:00", PAULISTA, "2026-11-23T08:00-03:00"),
        # In Manaus it is an hour earlier.
        ("2026-11-23T21:30-03:00", AMAZONIAN, "2026-11-23T21:30-03:00"),
        ("2026-11-23T08:30-03:00", AMAZONIAN, "2026-11-23T09:00-03:00"),
        # A mailbox is nowhere: the sender's clock counts.
        ("2026-11-23T22:00-03:00", MAILBOX, "2026-11-24T08:00-03:00"),
        # A toll-free number may be on Guam and in Maine: at 22:00 UTC it is day in both.
        ("2026-11-23T22:00-03:00", TOLL_FREE, "2026-11-24T22:00+00:00"),
    ],
)
def test_a_message_waits_for_the_morning_where_its_reader_is(moment: str, address: Address, expected: str) -> None:
    assert calm_moment(at(moment), address, SAO_PAULO, NIGHT) == at(expected)


def test_of_several_zones_none_is_disturbed() -> None:
    found = next_calm(at("2026-11-23T08:30-03:00"), [SAO_PAULO, MANAUS], NIGHT)
    assert found == at("2026-11-23T08:00-04:00")


def test_zones_without_a_common_day_have_no_calm_moment() -> None:
    zones = [SAO_PAULO, ZoneInfo("Asia/Kolkata"), ZoneInfo("Pacific/Honolulu")]
    assert next_calm(at("2026-11-23T12:00+00:00"), zones, NIGHT) is None


def test_a_number_that_may_be_anywhere_follows_its_sender_s_clock_when_no_hour_suits_all() -> None:
    long_night = QuietHours(time(18), time(12))
    found = calm_moment(at("2026-11-23T22:00-03:00"), TOLL_FREE, SAO_PAULO, long_night)
    assert found == at("2026-11-24T12:00-03:00")


@pytest.mark.parametrize(
    ("moment", "expected"),
    [
        # The night in which clocks are put forward is an hour shorter, and the other one longer.
        ("2026-03-28T22:00+01:00", "2026-03-29T08:00+02:00"),
        ("2026-10-24T22:00+02:00", "2026-10-25T08:00+01:00"),
    ],
)
def test_eight_o_clock_is_eight_o_clock_when_clocks_are_changed(moment: str, expected: str) -> None:
    assert next_calm(at(moment), [BERLIN], NIGHT) == at(expected)


def test_an_end_that_clocks_jump_over_is_the_moment_after() -> None:
    quiet = QuietHours(time(22), time(2, 30))
    assert next_calm(at("2026-03-28T23:00+01:00"), [BERLIN], quiet) == at("2026-03-29T03:30+02:00")


_MOMENTS = some.datetimes(datetime(2026, 1, 1), datetime(2028, 1, 1), timezones=some.just(UTC))  # noqa: DTZ001
_TIMES = some.times()


@given(_MOMENTS, some.sampled_from([SAO_PAULO, MANAUS, BERLIN, TOKYO]), _TIMES, _TIMES)
def test_whatever_the_hours_the_moment_found_is_calm_and_not_past(
    moment: datetime, zone: ZoneInfo, start: time, end: time
) -> None:
    quiet = QuietHours(start, end)
    found = next_calm(moment, [zone], quiet)
    assert found is not None
    assert moment <= found <= moment + timedelta(hours=26)
    assert not quiet.hold(found.astimezone(zone).time())
