"""Which ids contain a person's number, and what replaces them; and which texts name a person."""

import pytest

from core.errors import InvalidInput
from core.masking import encodes_phone_number, mask_id, pseudonym, stored_forms
from core.person import Person, read_person
from core.sealing import Sealer
from tests.privacy.conftest import MAIL, NUMBER, OLD_NUMBER, wamid

TELLING = wamid(NUMBER, "A1B2C3D4E5F6A1B2C3")
HARMLESS = (
    f"SM{'0123456789abcdef' * 2}",
    "<01900000-0000-7000-8000-000000000001.1@example.com>",
    f"sha256:{'9' * 64}",
    "wamid.short",
    "",
    "delivered",
)
SEALER, TURNED = Sealer({"k1": b"k" * 32}), Sealer({"k2": b"n" * 32, "k1": b"k" * 32})


def test_a_whatsapp_id_contains_the_number() -> None:
    assert encodes_phone_number(TELLING)
    assert mask_id(TELLING).startswith("wamid.••••")
    assert mask_id(f"{TELLING}:delivered").endswith(":delivered")
    assert not encodes_phone_number(mask_id(TELLING))


@pytest.mark.parametrize("id", HARMLESS)
def test_other_ids_stay_as_they_are(id: str) -> None:
    assert (mask_id(id), pseudonym(SEALER, id), stored_forms(SEALER, id)) == (id, id, [id])


def test_the_replacement_is_always_the_same_and_found_under_every_key() -> None:
    hidden = pseudonym(SEALER, TELLING)
    assert hidden == pseudonym(SEALER, TELLING) != TELLING
    assert not encodes_phone_number(hidden)
    assert stored_forms(SEALER, TELLING) == [TELLING, hidden]
    assert hidden in stored_forms(TURNED, TELLING)
    assert pseudonym(TURNED, TELLING) != hidden


@pytest.mark.parametrize("written", [NUMBER, OLD_NUMBER, "+55 11 98765-0123", "+55 11 8765 0123"])
def test_however_a_number_is_written_it_is_the_same_person(written: str) -> None:
    assert Person.of(written) == Person.of(NUMBER)
    assert {NUMBER, OLD_NUMBER} <= Person.of(written).spellings


@pytest.mark.parametrize(
    "text",
    [
        f"To={NUMBER}",
        f"From=%2B{NUMBER[1:]}&Body=x",
        f'{{"wa_id":"{OLD_NUMBER[1:]}"}}',
        "cliente 11987650123",
        f'{{"id":"{TELLING}"}}',
    ],
)
def test_a_text_that_contains_the_number_matches(text: str) -> None:
    assert Person.of(NUMBER).is_in(text)


@pytest.mark.parametrize("text", ["", "+5511987650124", "SM95511987650123", "15511987650123", "119876501234"])
def test_other_numbers_and_longer_ones_are_others(text: str) -> None:
    assert not Person.of(NUMBER).is_in(text)


@pytest.mark.parametrize("text", [MAIL, f"To: <{MAIL.upper()}>", "rcpt=maria.quitanda%40example.com"])
def test_an_address_is_found_in_any_case_and_as_forms_write_it(text: str) -> None:
    assert Person.of(MAIL).is_in(text)
    assert not Person.of(f"ana.{MAIL}").is_in(text)


@pytest.mark.parametrize(
    "text", [f"ana.{MAIL}", f"a{MAIL}", f"{MAIL}.br", f"To=ana.{MAIL}.br&x", f"{MAIL}.br order", f"{MAIL}m"]
)
def test_an_address_inside_a_longer_one_does_not_match(text: str) -> None:
    assert not Person.of(MAIL).is_in(text)


@pytest.mark.parametrize("text", [f"order-{MAIL}", f"{MAIL}.", f"{MAIL}. Obrigada", f"{MAIL}-1", f"{MAIL}.order-1"])
def test_an_address_beside_punctuation_is_theirs(text: str) -> None:
    assert Person.of(MAIL).is_in(text)


def test_a_person_with_only_a_user_id_is_found_by_it() -> None:
    person = read_person(phone=None, email=None, whatsapp_user_id="BR.13491208655302741918", path=["input"])
    assert person.is_in('{"from_user_id":"BR.13491208655302741918"}')
    assert not person.is_in('{"from_user_id":"BR.134912086553027419180"}')


@pytest.mark.parametrize(
    "given",
    [{"phone": "11987650123"}, {"phone": "+1"}, {"phone": "+55x"}, {"email": "maria"}, {"whatsapp_user_id": "maria"}],
)
def test_what_is_no_address_is_refused_with_its_place(given: dict[str, str]) -> None:
    whole = {"phone": None, "email": None, "whatsapp_user_id": None} | given
    with pytest.raises(InvalidInput) as refused:
        read_person(**whole, path=["input", "recipient"])
    assert list(refused.value.path)[:2] == ["input", "recipient"]
