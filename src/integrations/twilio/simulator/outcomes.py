"""What becomes of a message, decided by its recipient, so that a test or a person can choose.

+55119000 30003         undelivered, error 30003; so too 30001 … 30099, and every other recipient of this form
+55119000 00001         sent, and never a word from the handset
+55119000 00002         failed (30008), and then delivered all the same
+55119000 00003         failed (30001) before it was sent
anybody else            sent, delivered
"""

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Status:
    """One status a message comes to."""

    word: str
    error_code: int | None = None


EXPIRED = Status("failed", 30036)
"""It waited for longer than its validity period. https://www.twilio.com/docs/api/errors/30036"""
_UNDELIVERED = re.compile(r"\+55119000(300\d\d)")
_CHOSEN = {
    "+5511900000001": (Status("sent"),),
    "+5511900000002": (Status("sent"), Status("failed", 30008), Status("delivered")),
    "+5511900000003": (Status("failed", 30001),),
}
_USUAL = (Status("sent"), Status("delivered"))


def outcome(to: str) -> tuple[Status, ...]:
    """The statuses a message to this number comes to, in order."""
    if match := _UNDELIVERED.fullmatch(to):
        return (Status("sent"), Status("undelivered", int(match[1])))
    return _CHOSEN.get(to, _USUAL)
