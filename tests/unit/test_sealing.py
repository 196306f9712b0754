"""Sealed values open only for their own row and column, with a known key, and unaltered."""

from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.sealing import SealBroken, Sealer

OLD, NEW = b"o" * 32, b"n" * 32
PLACE = {"tenant": UUID(int=1), "row": UUID(int=2), "column": "to"}
SEALER = Sealer({"k1": OLD})


@given(st.text())
def test_what_was_sealed_opens_again(text: str) -> None:
    assert SEALER.open(SEALER.seal(text, **PLACE), **PLACE) == text


@pytest.mark.parametrize("text", ["", "Olá, Ana!", "👩🏽‍🚀 até já", "\x00", "x" * 200_000])
def test_any_text_can_be_sealed(text: str) -> None:
    sealed = SEALER.seal(text, **PLACE)
    assert SEALER.open(sealed, **PLACE) == text
    if len(text) > 1:
        assert text.encode() not in sealed


@pytest.mark.parametrize("other", [{"tenant": uuid4()}, {"row": uuid4()}, {"column": "from"}])
def test_a_value_moved_elsewhere_does_not_open(other: dict[str, UUID | str]) -> None:
    sealed = SEALER.seal("+5511987654321", **PLACE)
    with pytest.raises(SealBroken, match="altered, or moved"):
        SEALER.open(sealed, **{**PLACE, **other})


def test_no_altered_byte_goes_unnoticed() -> None:
    sealed = SEALER.seal("+5511987654321", **PLACE)
    for position in range(len(sealed)):
        altered = bytearray(sealed)
        altered[position] ^= 1
        with pytest.raises(SealBroken):
            SEALER.open(bytes(altered), **PLACE)


@given(st.binary(max_size=64))
def test_bytes_that_were_never_sealed_do_not_open(sealed: bytes) -> None:
    with pytest.raises(SealBroken):
        SEALER.open(sealed, **PLACE)


def test_a_value_cut_short_does_not_open() -> None:
    sealed = SEALER.seal("+5511987654321", **PLACE)
    for length in range(len(sealed)):
        with pytest.raises(SealBroken):
            SEALER.open(sealed[:length], **PLACE)


def test_the_same_text_is_never_sealed_to_the_same_bytes() -> None:
    assert len({SEALER.seal("Olá", **PLACE) for _ in range(100)}) == 100


def test_after_a_rotation_old_values_open_and_new_ones_take_the_new_key() -> None:
    rotated = Sealer({"k2": NEW, "k1": OLD})
    assert rotated.open(SEALER.seal("Olá", **PLACE), **PLACE) == "Olá"
    with pytest.raises(SealBroken, match="'k2', which is not among ENCRYPTION_KEYS"):
        SEALER.open(rotated.seal("Olá", **PLACE), **PLACE)


def test_another_key_under_the_same_name_opens_nothing() -> None:
    with pytest.raises(SealBroken):
        Sealer({"k1": NEW}).open(SEALER.seal("Olá", **PLACE), **PLACE)


def test_no_key_is_no_sealer() -> None:
    with pytest.raises(ValueError, match="At least one"):
        Sealer({})


def test_an_address_is_found_by_its_hash_within_one_tenant() -> None:
    ours, theirs = uuid4(), uuid4()
    assert SEALER.lookup_hash("+5511987654321", tenant=ours) == SEALER.lookup_hash("+5511987654321", tenant=ours)
    hashes = {
        SEALER.lookup_hash("+5511987654321", tenant=ours),
        SEALER.lookup_hash("+5511987654321", tenant=theirs),
        SEALER.lookup_hash("+5511987654322", tenant=ours),
        Sealer({"k1": NEW}).lookup_hash("+5511987654321", tenant=ours),
    }
    assert len(hashes) == 4


def test_after_a_rotation_an_address_is_found_under_either_key() -> None:
    tenant, rotated = uuid4(), Sealer({"k2": NEW, "k1": OLD})
    hashes = rotated.lookup_hashes("+5511987654321", tenant=tenant)
    assert hashes[0] == rotated.lookup_hash("+5511987654321", tenant=tenant)
    assert SEALER.lookup_hash("+5511987654321", tenant=tenant) in hashes


def test_no_key_is_ever_shown() -> None:
    for shown in (repr(SEALER), str(SEALER), f"{SEALER}"):
        assert shown == "Sealer(current='k1')"
