"""What the mail server answers, decided by the recipient's local part, so that a test or a person can choose.

nobody@   550 5.1.1 at RCPT           grey@    451 4.7.1 at its first RCPT from a sender, taken at the second
full@     452 4.2.2 at RCPT           busy@    451 4.7.1 at every RCPT
spam@     554 5.7.1 after the mail    big@     552 5.3.4 after the mail

A pair that grey@ has taken is known for 35 days.
"""

from collections.abc import Iterable
from datetime import datetime

from integrations.smtp.simulator.books import Books
from integrations.smtp.simulator.replies import TOO_BIG, Reply, reply

_GREYLISTED = reply(451, "4.7.1 Greylisted, try again later")
_AT_RCPT = {
    "nobody": reply(550, "5.1.1 User unknown"),
    "full": reply(452, "4.2.2 Mailbox full"),
    "busy": _GREYLISTED,
}
_AFTER_THE_MAIL = {"spam": reply(554, "5.7.1 Message refused as spam"), "big": TOO_BIG}


def recipient_refusal(recipient: str, sender: str, books: Books, now: datetime) -> Reply | None:
    """Why a recipient is refused, if it is; a first attempt is remembered in the greylist."""
    name = local_part(recipient)
    if name == "grey" and not books.is_known(sender, recipient, now):
        return _GREYLISTED
    return _AT_RCPT.get(name)


def mail_refusal(recipients: Iterable[str]) -> Reply | None:
    """Why a whole mail is refused, if it is."""
    return next((_AFTER_THE_MAIL[name] for name in map(local_part, recipients) if name in _AFTER_THE_MAIL), None)


def local_part(address: str) -> str:
    """What stands before the @."""
    return address.rpartition("@")[0].lower()
