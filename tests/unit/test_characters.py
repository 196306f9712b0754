"""Which characters a text may hold, over every code point there is."""

import sys
import unicodedata

import pytest

from core.characters import check_line, check_text, is_storable, refused_in_text, refused_on_line
from core.errors import InvalidInput


def refused(*, on_line: bool) -> set[int]:
    find = refused_on_line if on_line else refused_in_text
    return {code for code in range(sys.maxunicode + 1) if find(chr(code))}


def test_controls_surrogates_and_line_separators_are_refused_and_nothing_else() -> None:
    # Cc and Cs are closed: no later version of Unicode adds to them.
    closed = {code for code in range(sys.maxunicode + 1) if unicodedata.category(chr(code)) in ("Cc", "Cs")}
    assert refused(on_line=True) == closed | {0x2028, 0x2029}
    assert refused(on_line=False) == closed - {ord("\t"), ord("\n"), ord("\r")}
    assert {code for code in range(sys.maxunicode + 1) if not is_storable(chr(code))} == {0, *range(0xD800, 0xE000)}


def test_each_refused_character_has_its_own_name_and_place() -> None:
    said = [refused_on_line(f"a🙂{chr(code)}") for code in sorted(refused(on_line=True)) if not 0xD800 <= code < 0xE000]
    assert len({found[0] for found in said if found}) == len(said) == 67
    examples = {
        "ab\x00": ("U+0000 (NULL)", 3),
        "a\tb": ("U+0009 (CHARACTER TABULATION)", 2),
        "\x1f": ("U+001F (INFORMATION SEPARATOR ONE)", 1),
        "👩\u200d💻\x7f": ("U+007F (DELETE)", 4),
        "a\x85": ("U+0085 (NEXT LINE)", 2),
        "a\x9f": ("U+009F (APPLICATION PROGRAM COMMAND)", 2),
        "a\u2028b": ("U+2028 (LINE SEPARATOR)", 2),
        "a\u2029b": ("U+2029 (PARAGRAPH SEPARATOR)", 2),
        "Oi \ud83d": ("U+D83D (half of a surrogate pair)", 4),
    }
    assert {text: refused_on_line(text) for text in examples} == examples


def test_the_error_names_the_field_the_character_and_its_place() -> None:
    with pytest.raises(
        InvalidInput, match=r"It contains U\+0000 \(NULL\) at character 3\. Write it on one line"
    ) as one:
        check_line("ab\x00", ["input", "externalId"])
    assert (one.value.path, one.value.rule) == (("input", "externalId"), "MALFORMED")
    with pytest.raises(InvalidInput, match=r"U\+0007 \(ALERT\) at character 5") as several:
        check_text("a\n\tb\x07", ["input", "content", "text"])
    assert several.value.path == ("input", "content", "text")
    check_text("um\r\ndois\ttrês\u2028quatro", [])
