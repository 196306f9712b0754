"""Brazil's ninth digit: the two ways to write one mobile number.

Mobile numbers got a 9 before their eight digits between 2012 and 2016. WhatsApp goes on naming accounts that are older
than that by the short form, which no rule by area code predicts.
"""

import re

_LONG = re.compile(r"(55[1-9]\d)9([6-9]\d{7})")
_SHORT = re.compile(r"(55[1-9]\d)([6-9]\d{7})")


def variants(digits: str) -> frozenset[str]:
    """Every way to write the number, `digits` itself among them: two for a mobile that once had no 9, else one.

    `digits` begin with the country code, without a plus. Landlines, which begin with 2 to 5, stay as they are.
    """
    if match := _LONG.fullmatch(digits):
        return frozenset({digits, match[1] + match[2]})
    return frozenset({digits, full_form(digits)})


def full_form(digits: str) -> str:
    """The number as it is dialled today: with its 9."""
    match = _SHORT.fullmatch(digits)
    return f"{match[1]}9{match[2]}" if match else digits
