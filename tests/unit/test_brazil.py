"""Brazil's ninth digit: two ways to write one number, and never one way for two numbers."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import phonenumbers
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.brazil import AREA_CODES, full_form, variants


@pytest.mark.parametrize(
    ("digits", "all_forms"),
    [
        ("5531987654321", {"5531987654321", "553187654321"}),
        ("553187654321", {"5531987654321", "553187654321"}),
        ("5511961234567", {"5511961234567", "551161234567"}),
        # A landline has no 9, and a number given out since there is one has no other form.
        ("551133334444", {"551133334444"}),
        ("5511901310260", {"5511901310260"}),
        ("351912345678", {"351912345678"}),
        ("15005550006", {"15005550006"}),
        ("55119876543210", {"55119876543210"}),
        ("5501987654321", {"5501987654321"}),
        ("+5531987654321", {"+5531987654321"}),
        ("", {""}),
    ],
)
def test_a_number_has_these_forms(digits: str, all_forms: set[str]) -> None:
    assert variants(digits) == all_forms


numbers = st.from_regex(r"55[1-9][0-9]9?[0-9]{8}", fullmatch=True) | st.text("0123456789", max_size=15)


@given(numbers)
def test_all_forms_of_a_number_have_the_same_forms_and_one_in_full(digits: str) -> None:
    assert digits in variants(digits)
    assert {variants(form) for form in variants(digits)} == {variants(digits)}
    assert {full_form(form) for form in variants(digits)} == {max(variants(digits), key=len)}


def test_all_67_area_codes_have_their_zone_and_there_are_no_others() -> None:
    # The codes that Anatel's plan leaves out of 11 to 99; phonenumbers knows the same ones.
    unused = {20, 23, 25, 26, 29, 30, 36, 39, 40, 50, 52, 56, 57, 58, 59, 60, 70, 72, 76, 78, 80, 90}
    assert set(AREA_CODES) == {str(code) for code in range(11, 100) if code not in unused}
    assert len(AREA_CODES) == 67
    mobiles = {f"{code:02}": phonenumbers.parse(f"+55{code:02}987654321") for code in range(100)}
    assert set(AREA_CODES) == {code for code, number in mobiles.items() if phonenumbers.is_valid_number(number)}


def test_each_area_code_follows_the_clock_of_its_state() -> None:
    # Hours from Greenwich, by Lei 12.876/2013 and the state in which the code's people live.
    hours = dict.fromkeys(AREA_CODES, -3) | dict.fromkeys(["65", "66", "67", "69", "92", "95", "97"], -4) | {"68": -5}
    for month in (1, 7):
        moment = datetime(2027, month, 1, tzinfo=UTC)
        found = {code: moment.astimezone(ZoneInfo(zone)).utcoffset() for code, zone in AREA_CODES.items()}
        assert found == {code: timedelta(hours=hour) for code, hour in hours.items()}
    assert {AREA_CODES[code] for code in ("81", "87")} == {"America/Recife"}
    assert (AREA_CODES["93"], AREA_CODES["94"], AREA_CODES["91"]) == (
        "America/Santarem",
        "America/Belem",
        "America/Belem",
    )
