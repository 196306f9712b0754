"""Times of day as settings write them."""

import re
from datetime import time

from core.quiet_hours import QuietHours
from core.settings.problems import WrongValue

_FORM = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]):([0-5]\d)")


def parse_quiet_hours(text: object) -> object:
    """Read two times of day out of their text; raises WrongValue."""
    if not isinstance(text, str):
        return text
    if (found := _FORM.fullmatch(text.strip())) is None:
        raise WrongValue("must be two times of day, like 21:00-08:00")
    start, end = time(int(found[1]), int(found[2])), time(int(found[3]), int(found[4]))
    if start == end:
        raise WrongValue("begins and ends at the same time: a day has no quiet hours then, or nothing else")
    return QuietHours(start, end)
