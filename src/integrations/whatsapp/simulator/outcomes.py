"""What becomes of a message, decided by its recipient, so that a test or a person can choose.

+55 11 90 131026 0     taken, and then failed with 131026; so too with every other code of six digits
+55 11 90 131026 1     refused at once with that code
+55 11 90 131026 2     taken, failed with that code, and then delivered all the same: on another device
+55 11 90000 0001      sent, and never a word from the handset
+55 11 90000 0002      sent and read; that it was delivered is never reported
+55 11 90000 0003      sent, delivered, read
+55 11 90000 0005      a template is held for a quality assessment, then sent and delivered
+55 11 90000 0006      a template is answered as paused, and never sent
anybody else           sent, delivered; and read where the conditions say so
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from integrations.whatsapp.simulator.conditions import Conditions

_BY_CODE = re.compile(r"551190([1-9]\d{5})([012])")
_REFUSED, _FAILED_FIRST = "1", "2"


@dataclass(frozen=True, slots=True)
class Status:
    """One status a message comes to."""

    word: str
    error_code: int | None = None


SENT, DELIVERED, READ = Status("sent"), Status("delivered"), Status("read")
_CHOSEN: Mapping[str, tuple[Status, ...]] = {
    "5511900000001": (SENT,),
    "5511900000002": (SENT, READ),
    "5511900000003": (SENT, DELIVERED, READ),
}
PAUSED = "paused"
_TEMPLATE_STATUSES = {"5511900000005": "held_for_quality_assessment", "5511900000006": PAUSED}


def refused_with(digits: str) -> int | None:
    """The code a message to this number is refused with at once, if any."""
    match = _BY_CODE.fullmatch(digits)
    return int(match[1]) if match and match[2] == _REFUSED else None


def outcome(digits: str, conditions: Conditions) -> tuple[Status, ...]:
    """The statuses a message to this number comes to, in order."""
    if match := _BY_CODE.fullmatch(digits):
        failed = Status("failed", int(match[1]))
        return (SENT, failed, DELIVERED) if match[2] == _FAILED_FIRST else (failed,)
    if (chosen := _CHOSEN.get(digits)) is not None:
        return chosen
    return (SENT, *((DELIVERED,) * conditions.delivers), *((READ,) * conditions.reads))


def template_status(digits: str) -> str:
    """What the answer says of a template to this number."""
    return _TEMPLATE_STATUSES.get(digits, "accepted")
