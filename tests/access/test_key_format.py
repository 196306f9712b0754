"""The format of an API key: recognised offline, typing errors detected, nothing of it in what is printed."""

import re
import zlib

import pytest

from core.access.api_key_lookup import PATTERN, KeyKind, generate_key, key_prefix, looks_like_key, parse_key
from core.access.sessions import DevelopmentTokens

DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


@pytest.mark.parametrize(("kind", "begin"), [("LIVE", "ia_live_"), ("ALLOW_LIST", "ia_allow_"), ("TEST", "ia_test_")])
def test_a_key_says_its_kind_and_is_read_back(kind: str, begin: str) -> None:
    text, parts = generate_key(KeyKind(kind))
    assert text.startswith(begin)
    assert re.fullmatch(PATTERN, text)
    assert parse_key(text) == parts
    assert text.startswith(key_prefix(parts.kind, parts.name))
    assert looks_like_key(text)


def test_the_checksum_is_what_scanners_compute_by_themselves() -> None:
    text, _ = generate_key(KeyKind.LIVE)
    number, digits = zlib.crc32(text[:-6].encode()), ""
    for _ in range(6):
        number, digit = divmod(number, 62)
        digits = DIGITS[digit] + digits
    assert text[-6:] == digits


def test_no_two_keys_are_alike() -> None:
    made = [generate_key(KeyKind.LIVE) for _ in range(200)]
    assert len({text for text, _ in made} | {parts.name for _, parts in made}) == 400


def test_every_single_mistyped_character_is_noticed() -> None:
    text, _ = generate_key(KeyKind.LIVE)
    for place in range(len("ia_live_"), len(text)):
        wrong = "x" if text[place] != "x" else "y"
        assert parse_key(text[:place] + wrong + text[place + 1 :]) is None, place


@pytest.mark.parametrize(
    "token", ["", "ia_", "ia_live_", "ia_live_x_y", "ia_live_" + "é" * 62, "ia_live_" + "0" * 100_000]
)
def test_what_is_no_key_is_none(token: str) -> None:
    assert parse_key(token) is None


def test_a_key_cut_short_lengthened_or_of_another_kind_is_none() -> None:
    text, _ = generate_key(KeyKind.TEST)
    for wrong in (text[:-1], text + "0", text + "\n", " " + text, text.replace("ia_test_", "ia_live_"), text.upper()):
        assert parse_key(wrong) is None


def test_development_tokens_are_no_keys() -> None:
    assert not looks_like_key(DevelopmentTokens(b"secret").make())


def test_nothing_secret_is_in_what_is_printed() -> None:
    text, parts = generate_key(KeyKind.LIVE)
    assert text[21:] not in repr(parts)
    assert repr(parts.hash) not in repr(parts)
