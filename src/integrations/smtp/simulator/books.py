"""Everything the simulated mail server remembers; it can be handed out and taken back."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime

from integrations.simulating.memory import WHOLE
from integrations.smtp.simulator.mail import Mail

GREYLIST_KEPT = timedelta(days=35)
"""How long a greylist knows a pair that has not written again: the time usual among mail servers."""


def _by_their_ids(mails: dict[str, Mail]) -> dict[str, Mail]:
    if any(key != mail.id for key, mail in mails.items()):
        raise ValueError("every mail is kept under its own id")
    return mails


@dataclass(slots=True)
class Books:
    """Accepted mails by id, and when each pair of sender and recipient, with a space between them, last wrote."""

    __pydantic_config__ = WHOLE

    mails: Annotated[dict[str, Mail], AfterValidator(_by_their_ids)] = field(default_factory=dict)
    greylist: dict[str, AwareDatetime] = field(default_factory=dict)

    def is_known(self, sender: str, recipient: str, now: datetime) -> bool:
        """Whether they have written lately; from now on they have."""
        pair = f"{sender} {recipient}"
        before = self.greylist.get(pair)
        self.greylist[pair] = now
        return before is not None and now - before < GREYLIST_KEPT
