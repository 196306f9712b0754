"""Phone numbers and mailboxes: one form for each, and a suggestion for a likely typing error."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.addresses import Address, email_address, known_address, mask, phone_address, whatsapp_user_address
from core.errors import InvalidInput
from core.ports import Channel

PATH = ["input", "to", "phone"]


@pytest.mark.parametrize(
    ("given_number", "value", "shown"),
    [
        ("+55 11 98765-4321", "+5511987654321", "+55 11 9••••-4321"),
        (" +5511987654321 ", "+5511987654321", "+55 11 9••••-4321"),
        ("+551133334444", "+551133334444", "+55 11 ••••-4444"),
        ("+4915123456789", "+4915123456789", "+49 •••• 6789"),
        ("+15005550006", "+15005550006", "+15 •••• 0006"),
    ],
)
def test_a_number_has_one_form_and_one_mask(given_number: str, value: str, shown: str) -> None:
    address = phone_address(given_number, path=PATH)
    assert (address.value, address.masked) == (value, shown)
    assert address.serves(Channel.SMS)
    assert not address.serves(Channel.EMAIL)


@pytest.mark.parametrize(
    ("given_number", "suggestion"),
    [
        ("+551187654321", "+5511987654321"),
        ("+55 31 8765-4321", "+5531987654321"),
        ("11987654321", "+5511987654321"),
        ("(11) 98765-4321", "+5511987654321"),
    ],
)
def test_what_was_probably_meant_is_said(given_number: str, suggestion: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        phone_address(given_number, path=PATH)
    assert f"Did you mean {suggestion}?" in refused.value.message


@pytest.mark.parametrize(
    "nonsense", ["", "abc", "+", "+55", "+55 11 8", "1", "+999 12345678", "٠٠٠", "+55" + "1" * 300]
)
def test_an_unparsable_address_is_refused_without_a_suggestion(nonsense: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        phone_address(nonsense, path=PATH)
    assert "Did you mean" not in refused.value.message


@given(st.text(max_size=60))
def test_any_text_is_a_number_or_refused(text: str) -> None:
    try:
        address = phone_address(text, path=PATH)
    except InvalidInput:
        return
    assert phone_address(address.value, path=PATH) == address


@given(st.text(max_size=60))
def test_any_text_is_refused_or_a_mailbox_without_a_line_break(text: str) -> None:
    try:
        address = email_address(text, path=PATH)
    except InvalidInput:
        return
    assert not set("\r\n,<> ") & set(address.value)
    assert email_address(address.value, path=PATH) == address


def test_a_mailbox_keeps_its_name_and_its_domain_is_lowered() -> None:
    address = email_address("Ana.Souza@Example.COM", path=PATH)
    assert (address.value, address.masked) == ("Ana.Souza@example.com", "A••@example.com")
    assert address.serves(Channel.EMAIL)


@pytest.mark.parametrize(
    ("given_id", "shown"),
    [
        ("BR.13491208655302741918", "BR.••••1918"),
        (" US.ENT.13491208655302741918 ", "US.••••1918"),
        ("BR.1234567", "BR.••••"),
    ],
)
def test_a_whatsapp_user_is_reached_there_only_and_masked(given_id: str, shown: str) -> None:
    address = whatsapp_user_address(given_id, path=PATH)
    assert (address.value, address.masked) == (given_id.strip(), shown)
    assert [channel for channel in Channel if address.serves(channel)] == [Channel.WHATSAPP]
    assert known_address(given_id) == address


@pytest.mark.parametrize("nonsense", ["", "BR", "BR.", "br.123", "+5511987654321", "BR.1 2", "BR." + "1" * 151])
def test_what_is_no_whatsapp_user_is_refused_and_says_where_one_is_found(nonsense: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        whatsapp_user_address(nonsense, path=PATH)
    assert "`from` of a message from the person" in refused.value.message


@pytest.mark.parametrize("read", [phone_address, email_address, whatsapp_user_address])
def test_a_control_character_in_an_address_is_named_before_anything_else(read: Callable[..., Address]) -> None:
    for address in ("+5511987654321", "ana@example.com", "BR.1", "x" * 1_000):
        for raw in (f"\x00{address}", f"{address}\n", f"{address}\ud83d"):
            with pytest.raises(InvalidInput) as refused:
                read(raw, path=PATH)
            assert "It contains U+" in refused.value.message


def test_an_address_reported_by_a_provider_is_never_refused() -> None:
    for raw in ("+553187654321", "40404", "", "x" * 1000):
        assert len(known_address(raw).value) <= 320


@given(st.text(min_size=9, max_size=40))
def test_a_mask_never_shows_the_whole(text: str) -> None:
    assert mask(text) != text
