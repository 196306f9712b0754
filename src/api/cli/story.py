"""What happened to one message, told as lines: its attempts and events in the order of time, why, and what is next."""

from collections.abc import Iterator, Mapping
from typing import Any

from api.cli.calling import clock
from api.cli.parties import PARTIES, arrow, whom

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
_WHO_CAN_MEND = {
    "CALLER": "Change the message: its input is wrong",
    "RECIPIENT": "Only the recipient can mend that",
    "OPERATOR": "Whoever runs this server can mend that: `interalpha check --probe`",
    "PROVIDER": "Only the company can mend that",
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
        mend = _WHO_CAN_MEND.get(failure["party"], failure["party"])
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
        again = f"interalpha replay {message['id']}   once its cause is mended"
        return f"{again}, or interalpha dead-letters discard {message['deadLetter']}"
    if message.get("canRetry"):
        return f"interalpha replay {message['id']}   sends it again; otherwise it stays failed"
    # A relay reports nothing after it took an e-mail.
    if message["status"] == "SENT" and message["channel"] != "EMAIL":
        return "the company's report on what became of it"
    return None


def _attempt(one: Mapping[str, Any]) -> str:
    took = "" if one["durationMs"] is None else f"{one['durationMs']:.0f} ms"
    failure = one["failure"]
    # What became of an accepted one is told by the events.
    if failure and one["outcome"] != "ACCEPTED":
        words = f"{failure['providerCode'] or ''} {failure['message']}".lstrip()
    else:
        words = one["providerMessageId"] or ""
    company = one["integration"]["kind"].lower()
    head = f"{one['number']:>2}  {clock(one['startedAt'])}  {company:<9} {one['outcome'].lower():<11} {took:>8}"
    return "   ".join([head, words, one["answer"] or ""]).rstrip()


def _event(one: Mapping[str, Any]) -> str:
    who = "← webhook" if one["source"] == "WEBHOOK" else one["source"].lower()
    return f"    {clock(one['at'])}  {who:<9} {one['status'].lower():<11} {'':>8}   {one['detail'] or ''}".rstrip()
