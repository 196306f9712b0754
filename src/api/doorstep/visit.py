"""One request and the per-IP limit: strangers pay, authenticated callers are refunded, bad credentials cost extra."""

from collections.abc import Callable, Hashable, Mapping
from typing import Any

from api.doorstep.purses import Purses

FORGERY = 10.0
"""What credentials nobody believes cost, beside the request itself."""
_KEY = "interalpha.visit"


class Visit:
    """Takes one payment when it begins; `wait` is how many seconds too early it came, 0 where it was paid.

    One that was not paid may be let in on credit, to show credentials: nothing but these gets it further.
    `is_displaced` says that it took too long to show them.
    """

    def __init__(self, purses: Purses | None = None, who: Hashable = "") -> None:
        self._purses = purses
        self._who = who
        self.wait = 0.0 if purses is None else purses.take(who)
        self.is_on_credit = self.wait > 0
        self.is_displaced = False
        self.on_believed: Callable[[], None] | None = None
        self._is_settled = self.wait > 0

    def goes_on(self) -> bool:
        """Pay once more, for something else that is asked in the same visit; False where there is not enough."""
        return self._purses is None or self._purses.take(self._who) == 0

    def believed(self) -> None:
        """Give the payment back: what known callers may do is counted for themselves, not for their address."""
        if self._purses is not None and not self._is_settled:
            self._purses.give_back(self._who)
        self._is_settled, self.is_on_credit = True, False
        if self.on_believed is not None:
            self.on_believed()

    def disbelieved(self) -> None:
        """Charge for credentials or a signature that were no good; what came on credit has nothing to pay with."""
        if self._purses is not None and not self._is_settled:
            self._purses.charge(self._who, FORGERY)
        self._is_settled = True


def visit_of(scope: Mapping[str, Any]) -> Visit:
    """Find the visit of a request; one that costs nothing where nobody stands on the doorstep."""
    found = scope.get(_KEY)
    return found if isinstance(found, Visit) else Visit()


def noted(scope: Any, visit: Visit) -> None:
    """Let whoever handles a request find its visit."""
    scope[_KEY] = visit
