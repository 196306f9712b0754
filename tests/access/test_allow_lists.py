"""Which recipients credentials may reach, and which credentials cover others."""

import pytest

from core.ports.identity import DEFAULT_TENANT, UNRESTRICTED, Principal, Reach

ANA, BIA = "+5511987654321", "bia@example.com"
TEST = Reach(simulated_only=True)
SOME, MORE = Reach(recipients=frozenset({ANA})), Reach(recipients=frozenset({ANA, BIA}))


@pytest.mark.parametrize("address", [ANA, "+551187654321"])
def test_a_list_names_a_person_with_the_ninth_digit_and_without(address: str) -> None:
    assert SOME.allows(address)


@pytest.mark.parametrize("address", ["+5511987654322", "+5521987654321", BIA, "", "5511987654321"])
def test_an_allow_list_allows_no_other_recipient(address: str) -> None:
    assert not SOME.allows(address)


def test_without_an_allow_list_every_recipient_is_allowed_and_an_empty_one_allows_none() -> None:
    assert UNRESTRICTED.allows(ANA)
    assert TEST.allows(ANA)
    assert not Reach(recipients=frozenset()).allows(ANA)


def test_who_reaches_more_covers_who_reaches_less_and_never_the_other_way() -> None:
    order = [UNRESTRICTED, MORE, SOME, TEST]
    for place, one in enumerate(order):
        for other, reach in enumerate(order):
            assert one.covers(reach) == (other >= place), (one, reach)


def test_the_people_on_a_list_are_not_printed() -> None:
    assert ANA not in repr(Principal(DEFAULT_TENANT, "key:x", frozenset(), reach=SOME))
