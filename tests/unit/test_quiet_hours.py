"""Quiet hours: they end in the morning of every time zone a number can be in, also on days when clocks change."""

from datetime import UTC, datetime, time, timedelta
from importlib.resources import files
from zoneinfo import ZoneInfo

import phonenumbers
import pytest
from hypothesis import given
from hypothesis import strategies as some

from core.addresses import Address
from core.brazil import AREA_CODES
from core.messages.schedule import after_quiet_hours, next_allowed, time_zones_of
from core.quiet_hours import CAPITALS, DEFAULT_QUIET_HOURS, QuietHours

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
def test_a_message_waits_for_the_end_of_quiet_hours_at_its_recipient(
    moment: str, address: Address, expected: str
) -> None:
    assert next_allowed(at(moment), address, SAO_PAULO, DEFAULT_QUIET_HOURS) == at(expected)


def test_a_number_follows_the_clock_where_its_people_live() -> None:
    recife = "2027-07-01T08:00-03:00"
    for area in AREA_CODES:
        for number in (f"+55{area}987654321", f"+55{area}32654321"):
            assert time_zones_of(Address("phone", number)) == [ZoneInfo(AREA_CODES[area])], number
    for number in ("+5581987000001", "+5593987000001", "+5594987000001"):
        assert next_allowed(at("2027-07-01T10:00+00:00"), Address("phone", number), BERLIN, DEFAULT_QUIET_HOURS) == at(
            recife
        )


def test_other_countries_follow_their_capital_unless_a_number_is_bound_to_a_place() -> None:
    expected = {
        # Mobile numbers that tell nothing but the country.
        "+34612345678": ["Europe/Madrid"],
        "+351912345678": ["Europe/Lisbon"],
        "+56961234567": ["America/Santiago"],
        "+61412345678": ["Australia/Sydney"],
        "+593991234567": ["America/Guayaquil"],
        "+79161234567": ["Europe/Moscow"],
        "+77012345678": ["Asia/Almaty"],
        "+262639012345": ["Indian/Mayotte"],
        "+262692123456": ["Indian/Reunion"],
        "+447400123456": ["Europe/London"],
        # One zone.
        "+5491123456789": ["America/Argentina/Buenos_Aires"],
        "+4915123456789": ["Europe/Berlin"],
        "+59899123456": ["America/Montevideo"],
        # Bound to a place.
        "+34928123456": ["Atlantic/Canary"],
        "+526641234567": ["America/Tijuana"],
        "+525512345678": ["America/Mexico_City"],
        "+13105551234": ["America/Los_Angeles"],
        "+12125551234": ["America/New_York"],
        "+14165551234": ["America/Toronto"],
        # A landline for which phonenumbers has a neighbouring zone, with summer time or another offset.
        "+50522551234": ["America/Managua"],
        "+211123456789": ["Africa/Juba"],
        "+213211234567": ["Africa/Algiers"],
        "+218212345678": ["Africa/Tripoli"],
        "+212522123456": ["Africa/Casablanca"],
        "+74012123456": ["Europe/Kaliningrad"],
        # Toll-free in Brazil, and international numbers of no country.
        "+558001234567": ["America/Sao_Paulo"],
        "+80012345678": [],
    }
    found = {number: [str(zone) for zone in time_zones_of(Address("phone", number))] for number in expected}
    assert found == expected


def test_every_country_has_the_zone_of_its_capital() -> None:
    assert set(CAPITALS) == phonenumbers.SUPPORTED_REGIONS
    text = files("tzdata").joinpath("zoneinfo", "zone.tab").read_text()
    rows = [line.split("\t") for line in text.splitlines() if not line.startswith("#")]
    listed = {region: {row[2] for row in rows if row[0] == region} for region in {row[0] for row in rows}}
    listed |= {"AC": listed["SH"], "TA": listed["SH"], "XK": {"Europe/Belgrade"}}
    assert [region for region, zone in CAPITALS.items() if zone not in listed[region]] == []
    # A telephone of each country is at home in one zone, or in those of its area code.
    for region in sorted(CAPITALS):
        number = phonenumbers.example_number_for_type(region, phonenumbers.PhoneNumberType.MOBILE)
        if number is not None:
            value = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
            assert len(time_zones_of(Address("phone", value))) == 1, value


def test_of_several_zones_none_is_disturbed() -> None:
    found = after_quiet_hours(at("2026-11-23T08:30-03:00"), [SAO_PAULO, MANAUS], DEFAULT_QUIET_HOURS)
    assert found == at("2026-11-23T08:00-04:00")


def test_zones_without_a_common_day_have_no_calm_moment() -> None:
    zones = [SAO_PAULO, ZoneInfo("Asia/Kolkata"), ZoneInfo("Pacific/Honolulu")]
    assert after_quiet_hours(at("2026-11-23T12:00+00:00"), zones, DEFAULT_QUIET_HOURS) is None


def test_a_number_that_may_be_anywhere_follows_its_sender_s_clock_when_no_hour_suits_all() -> None:
    long_night = QuietHours(time(18), time(12))
    found = next_allowed(at("2026-11-23T22:00-03:00"), TOLL_FREE, SAO_PAULO, long_night)
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
    assert after_quiet_hours(at(moment), [BERLIN], DEFAULT_QUIET_HOURS) == at(expected)


def test_an_end_that_clocks_jump_over_is_the_moment_after() -> None:
    quiet = QuietHours(time(22), time(2, 30))
    assert after_quiet_hours(at("2026-03-28T23:00+01:00"), [BERLIN], quiet) == at("2026-03-29T03:30+02:00")


_MOMENTS = some.datetimes(datetime(2026, 1, 1), datetime(2028, 1, 1), timezones=some.just(UTC))  # noqa: DTZ001
_TIMES = some.times()


@given(_MOMENTS, some.sampled_from([SAO_PAULO, MANAUS, BERLIN, TOKYO]), _TIMES, _TIMES)
def test_the_next_moment_is_never_past_and_never_in_quiet_hours(
    moment: datetime, zone: ZoneInfo, start: time, end: time
) -> None:
    quiet = QuietHours(start, end)
    found = after_quiet_hours(moment, [zone], quiet)
    assert found is not None
    assert moment <= found <= moment + timedelta(hours=26)
    assert not quiet.hold(found.astimezone(zone).time())
