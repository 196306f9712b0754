"""Brazil's ninth digit: two ways to write one number, and never two numbers written one way."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.brazil import full_form, variants


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
