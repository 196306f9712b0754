"""A message on its way, one line for each thing that happens to it."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from rich.console import Console
from rich.text import Text

from api.cli.calling import clock, masked
from api.cli.clocks import in_local_time, lasted, seconds_between

ACCEPTED = """
id status channel toMasked createdAt sendAt sentAt deliveredAt readAt nextAttemptAt
failure { reason party message providerCode isTransient }
"""
"""What whoever may send, and not read, is told of a message."""
MESSAGE = f"""
{ACCEPTED}
attempts {{ number outcome providerMessageId durationMs }}
"""

_ARRIVED = {"EMAIL": ("SENT", "DELIVERED", "READ", "FAILED")}
"""Where the way ends for channels whose company reports no delivery; for the others it ends there."""


_SOON = timedelta(seconds=30)
"""A moment further away than that is told instead of being waited for."""


class Progress:
    """Prints what is new since it was last shown the message; without a console it only says when to stop."""

    def __init__(self, console: Console | None) -> None:
        self._console = console
        self._told: set[str] = set()

    def accept(self, message: Mapping[str, Any], *, is_replay: bool) -> None:
        """Say that the API has taken it."""
        words = "this key was used before; this is what became of it" if is_replay else ""
        way = f"{message['id']}   {message['channel'].lower()} → {message['toMasked']}   {words}".rstrip()
        if message["status"] == "SCHEDULED":
            self._tell("scheduled", f"{way}   goes out at {clock(message['sendAt'], millis=False)}")
        else:
            self._tell("queued", way)

    def show(self, message: Mapping[str, Any]) -> bool:
        """Print what is new, and say whether this is the end."""
        if message["sentAt"]:
            taken = [one for one in masked(message)["attempts"] if one["outcome"] == "ACCEPTED"]
            last = taken[-1] if taken else {"providerMessageId": None, "durationMs": None}
            took = "" if last["durationMs"] is None else f"   {last['durationMs']:.0f} ms"
            self._tell("sent", f"{last['providerMessageId'] or ''}{took}".strip())
        for word in ("delivered", "read"):
            if moment := message[f"{word}At"]:
                self._tell(word, lasted(seconds_between(message["createdAt"], moment)))
        failure, status = message["failure"], message["status"]
        if failure and status == "FAILED":
            self._tell("failed", _why(failure), mark="✗", style="bold red")
        elif failure and message["nextAttemptAt"]:
            again = f"again at {clock(message['nextAttemptAt'])}"
            self._tell("waiting", f"{_why(failure)}   {again}", mark="!", style="yellow")
        if status == "UNCONFIRMED":
            words = "the answer was lost; a report decides, and it is never sent again blindly"
            self._tell("unconfirmed", words, mark="!", style="yellow")
        if status == "CANCELED":
            self._tell("canceled", "it is not sent", mark="○", style="dim")
        if is_late := status == "QUEUED" and not failure and _is_far(message["nextAttemptAt"]):
            self._tell("waiting", f"goes out at {clock(message['nextAttemptAt'], millis=False)}")
        is_end = status in _ARRIVED.get(message["channel"], ("DELIVERED", "READ", "FAILED"))
        # What waits for its hour is not waited for here.
        return is_end or is_late or status in ("SCHEDULED", "CANCELED")

    def _tell(self, word: str, details: str, *, mark: str = "✓", style: str = "green") -> None:
        line = f"{word:<10} {details}".rstrip()
        if self._console is not None and line not in self._told:
            self._told.add(line)
            self._console.print(Text.assemble((mark, style), " ", line))


def _why(failure: Mapping[str, Any]) -> str:
    code = f" ({failure['providerCode']})" if failure["providerCode"] else ""
    return f"{in_local_time(failure['message'])}{code}"


def _is_far(moment: str | None) -> bool:
    return moment is not None and datetime.fromisoformat(moment) > datetime.now(UTC) + _SOON
