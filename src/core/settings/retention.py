"""How long something is kept, in days: none so short that what is under way, or told twice, would be missed."""

from typing import Annotated

from pydantic import AfterValidator

from core.settings.problems import WrongValue

DAYS = "days, from 7 to 36500; 0 keeps it for good"
_FEWEST, _MOST = 7, 36_500


def check_days(days: int) -> int:
    """Accept a span that can be kept to; raises WrongValue."""
    if days != 0 and not _FEWEST <= days <= _MOST:
        raise WrongValue(f"must be {DAYS}")
    return days


Days = Annotated[int, AfterValidator(check_days)]
