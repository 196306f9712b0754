"""How a message is shown in a terminal: one line, its history, its progress."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from rich.console import Console
from rich.text import Text

from api.cli.terminal import clock, in_local_time, lasted, seconds_between
from core.masking import mask_id

PARTIES = "direction toMasked fromMasked"
"""What has to be asked for."""


def arrow(message: Mapping[str, Any]) -> str:
    """Show which way it went."""
    return "→" if message["direction"] == "OUTBOUND" else "←"


def whom(message: Mapping[str, Any]) -> str:
    """Return the address of the other party."""
    address: str = message["toMasked"] if message["direction"] == "OUTBOUND" else message["fromMasked"]
    return address


# The history of one message: attempts and events in order, why it failed, and what comes next.


CONTENT = """
content {
  ... on TextContent { text }
  ... on EmailContent { subject plainText html }
  ... on TemplateContent { rendered template { name locale } }
}
"""
STORY = f"""
id status channel {PARTIES} createdAt sendAt nextAttemptAt nextLookAt canRetry
failure {{ reason party message providerCode isTransient }}
attempts {{
  number channel outcome providerMessageId answer startedAt durationMs
  integration {{ kind }} failure {{ message providerCode }}
}}
externalId expiresAt erasedAt {CONTENT}
events(last: 100) {{ nodes {{ status channel detail source at }} pageInfo {{ hasPreviousPage }} }}
"""
_UNREADABLE = "cannot be read here: its key is not among the server's ENCRYPTION_KEYS, or it was altered"
_WHO_CAN_FIX = {
    "CALLER": "Change the message: its input is wrong",
    "RECIPIENT": "Only the recipient can fix that",
    "OPERATOR": "The operator of this server can fix that: `interalpha check --probe`",
    "PROVIDER": "Only the provider can fix that",
}


def story(message: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines."""
    head = f"{message['channel'].lower()} {arrow(message)} {whom(message)}"
    yield f"{message['id']}   {head}   {message['status'].lower()}"
    yield from _said(message)
    if message["events"]["pageInfo"]["hasPreviousPage"]:
        yield "    … and more before: ask the API for `events(before:)`"
    moments = [(one["startedAt"], _attempt(one)) for one in message["attempts"]]
    moments += [(one["at"], _event(one)) for one in message["events"]["nodes"] if one["status"] != "SENDING"]
    # By the moment alone: lines of the same moment stay in their order.
    for _, line in sorted(moments, key=lambda moment: moment[0]):
        yield line
    if failure := message["failure"]:
        mend = _WHO_CAN_FIX.get(failure["party"], failure["party"])
        yield f" Why    {failure['message']} {mend}."
    if following := _next(message):
        yield f" Next   {following}"


def _said(message: Mapping[str, Any]) -> Iterator[str]:
    """What it says, line by line; where that is no longer kept, since when."""
    content = message["content"]
    if content is None:
        since = message["erasedAt"]
        yield f" Says   no longer kept, since {clock(since, millis=False)}" if since else f" Says   {_UNREADABLE}"
        return
    for number, line in enumerate(_words(content)):
        yield f"{' Says   ' if number == 0 else '        '}{line}"


def _words(content: Mapping[str, Any]) -> Iterator[str]:
    if template := content.get("template"):
        yield f"By the template {template['name']} ({template['locale']}):"
    if subject := content.get("subject"):
        yield f"Subject: {subject}"
    text = next((content[name] for name in ("text", "rendered", "plainText") if content.get(name) is not None), None)
    if text is None:
        yield f"HTML alone, of {len(content.get('html') or '')} characters: --json prints it"
    else:
        yield from text.split("\n") if text else ("(nothing)",)


def _next(message: Mapping[str, Any]) -> str | None:
    if message["status"] == "SCHEDULED":
        return f"{clock(message['sendAt'])}   its hour"
    if message["nextAttemptAt"]:
        return f"{clock(message['nextAttemptAt'])}   attempt {len(message['attempts']) + 1}"
    if message["nextLookAt"]:
        words = "a report, the provider's list or its route decide, or: interalpha messages settle"
        return f"unconfirmed, looked at again at {clock(message['nextLookAt'])}: {words} {message['id']}"
    if message.get("deadLetter"):
        again = f"interalpha replay {message['id']}   after its cause is fixed"
        return f"{again}, or interalpha dead-letters discard {message['deadLetter']}"
    if message.get("canRetry"):
        return f"interalpha replay {message['id']}   sends it again; otherwise it stays failed"
    # A relay reports nothing after it took an e-mail.
    if message["status"] == "SENT" and message["channel"] != "EMAIL":
        return "waits for the provider's delivery report"
    return None


def _attempt(one: Mapping[str, Any]) -> str:
    took = "" if one["durationMs"] is None else f"{one['durationMs']:.0f} ms"
    failure = one["failure"]
    # What became of an accepted one is told by the events.
    if failure and one["outcome"] != "ACCEPTED":
        words = f"{failure['providerCode'] or ''} {failure['message']}".lstrip()
    else:
        words = one["providerMessageId"] or ""
    provider = one["integration"]["kind"].lower()
    head = f"{one['number']:>2}  {clock(one['startedAt'])}  {provider:<9} {one['outcome'].lower():<11} {took:>8}"
    return "   ".join([head, words, one["answer"] or ""]).rstrip()


def _event(one: Mapping[str, Any]) -> str:
    who = "← webhook" if one["source"] == "WEBHOOK" else one["source"].lower()
    return f"    {clock(one['at'])}  {who:<9} {one['status'].lower():<11} {'':>8}   {one['detail'] or ''}".rstrip()


# The progress of a message: one line for each event.


ACCEPTED = """
id status channel toMasked createdAt sendAt sentAt deliveredAt readAt nextAttemptAt
failure { reason party message providerCode isTransient }
"""
"""The fields of a message that a caller may read who may only send."""
MESSAGE = f"""
{ACCEPTED}
attempts {{ number outcome providerMessageId durationMs }}
"""

_ARRIVED = {"EMAIL": ("SENT", "DELIVERED", "READ", "FAILED")}
"""The final statuses of channels whose provider reports no delivery; the others end with DELIVERED, READ or FAILED."""


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


def masked(message: Mapping[str, Any]) -> dict[str, Any]:
    """Return a message without provider ids that contain a telephone number: terminals need not show them."""
    if "attempts" not in message:
        return dict(message)
    attempts = [
        {**one, "providerMessageId": mask_id(one["providerMessageId"] or "") or None} for one in message["attempts"]
    ]
    return {**message, "attempts": attempts}


def way_of(subject: Mapping[str, Any] | None) -> str:
    """Show the message a record is about, as far as it is about one."""
    if not subject:
        return ""
    return f"{subject['channel'].lower()} {arrow(subject)} {whom(subject)}"
