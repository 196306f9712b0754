"""The segments of an SMS."""

import pytest

from core.segments import Encoding, Segments, count_segments

GSM, UCS = Encoding.GSM_7, Encoding.UCS_2


@pytest.mark.parametrize(
    ("text", "encoding", "units", "segments"),
    [
        ("", GSM, 0, 1),
        ("a" * 160, GSM, 160, 1),
        ("a" * 161, GSM, 161, 2),
        ("a" * 306, GSM, 306, 2),
        ("a" * 307, GSM, 307, 3),
        ("€" * 80, GSM, 160, 1),
        ("€" * 81, GSM, 162, 2),
        ("a" * 152 + "€" + "a" * 10, GSM, 164, 2),
        # The € does not fit into the last place of the first part, so that the second one overflows.
        ("a" * 152 + "€" + "a" * 152, GSM, 306, 3),
        ("ã" * 70, UCS, 70, 1),
        ("ã" * 71, UCS, 71, 2),
        ("ã" * 134, UCS, 134, 2),
        ("ã" * 135, UCS, 135, 3),
        ("🙂" * 35, UCS, 70, 1),
        ("🙂" * 36, UCS, 72, 2),
        # 33 pairs fill 66 of 67 units: the pair that would straddle the cut goes to the next part.
        ("🙂" * 67, UCS, 134, 3),
        ("Olá, sua consulta é amanhã às 10h", UCS, 33, 1),
        ("Ola, sua consulta e amanha as 10h", GSM, 33, 1),
    ],
)
def test_a_text_is_cut_where_the_carriers_cut_it(text: str, encoding: Encoding, units: int, segments: int) -> None:
    assert count_segments(text) == Segments(encoding, units, segments)


IN_THE_ALPHABET = "àèéùìòÇØøÅåÄÖÑÜäöñüÆæÉß"


def test_letters_of_the_alphabet_stay_in_it(subtests: pytest.Subtests) -> None:
    for letter in IN_THE_ALPHABET:
        with subtests.test(repr(letter)):
            assert count_segments(letter).encoding is GSM


OUTSIDE_THE_ALPHABET = "áâãçêíóôõúÁÂÃÊÍÓÔÕÚ“”’–`\t"


def test_letters_outside_the_alphabet_make_the_whole_text_ucs_2(subtests: pytest.Subtests) -> None:
    for letter in OUTSIDE_THE_ALPHABET:
        with subtests.test(repr(letter)):
            assert count_segments("a" + letter).encoding is UCS
