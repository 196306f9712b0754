"""A message on the command line: the fields to send, and how a message, its history and its progress are printed."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import rich_click as click
from rich.console import Console
from rich.text import Text

from api.cli.client import Api
from api.cli.options import CHANNELS, Duration, Moment, Utf8Text, as_duration, as_moment, read_length
from api.cli.terminal import Failure, clock, in_local_time, lasted, seconds_between
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


# What `send` and `batch send` build: the fields of a SendMessageInput, from options and templates.


Command = TypeVar("Command", bound=Callable[..., Any])


class Route(click.ParamType[list[dict[str, str]]]):
    """Channels in the order they are tried; `whatsapp:30m,sms` gives the first of them half an hour."""

    name = "route"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> list[dict[str, str]]:
        if isinstance(value, list):
            return value
        return [self._step(part.strip(), param, ctx) for part in str(value).split(",")]

    def _step(self, part: str, param: click.Parameter | None, ctx: click.Context | None) -> dict[str, str]:
        channel, colon, time = part.partition(":")
        if channel.lower() not in CHANNELS:
            self.fail(f"{channel or 'nothing'} is no channel: write it like whatsapp,sms.", param, ctx)
        if not colon:
            return {"channel": channel.upper()}
        if (within := read_length(time)) is None:
            self.fail(f"{part} has no stretch of time behind the colon: write it like whatsapp:30m,sms.", param, ctx)
        return {"channel": channel.upper(), "within": as_duration(within)}


def delivery_options(command: Command) -> Command:
    """Let a command take when and over which channels messages go out; `Delivery.of` reads what was given."""
    for option in (
        click.option("--dry-run", is_flag=True, help="Check everything and send nothing."),
        click.option(
            "--expires-in", type=Duration(), metavar="TIME", help="Do not send it later than 30m, 12h or 2d from now."
        ),
        click.option(
            "--quiet-hours", is_flag=True, help="Do not send during the recipient's night: wait until morning."
        ),
        click.option("--in", "after", type=Duration(), metavar="TIME", help="Send it in 30m, 2h, 1d."),
        click.option("--at", type=Moment(), metavar="MOMENT", help="Send it at this moment: 2026-12-01T09:30."),
        click.option(
            "--route",
            type=Route(),
            metavar="CHANNELS",
            help="The channels to try, in order: whatsapp,sms. With whatsapp:30m,sms the second one is tried when the"
            " first has not delivered within 30 minutes.",
        ),
    ):
        command = option(command)
    return command


def naming_options(command: Command) -> Command:
    """Let a command take the names that one message has for its sender."""
    for option in (
        click.option(
            "--external-id",
            type=Utf8Text(),
            metavar="ID",
            help="Your own id for the message; each id can be used once.",
        ),
        click.option("--idempotency-key", type=Utf8Text(), metavar="KEY", help="The same key never sends twice."),
    ):
        command = option(command)
    return command


def delivery(
    channel: str,
    *,
    route: Sequence[Mapping[str, str]] | None,
    at: datetime | None,
    after: timedelta | None,
    quiet_hours: bool,
    expires_in: timedelta | None,
    dry_run: bool,
) -> dict[str, Any]:
    """The options as fields of a SendMessageInput, for a command that names a channel; raises UsageError."""
    if at is not None and after is not None:
        raise click.UsageError("Give --at or --in, not both.")
    steps = list(route or [{"channel": channel}])
    if channel not in {one["channel"] for one in steps}:
        words = ",".join(one["channel"].lower() for one in steps)
        raise click.UsageError(f"--route {words} does not name {channel.lower()}, which the command says.")
    given: dict[str, Any] = {"route": steps}
    if at is not None or after is not None:
        given["schedule"] = {"at": as_moment(at)} if at is not None else {"after": as_duration(after or timedelta())}
    if quiet_hours:
        given["respectQuietHours"] = True
    if expires_in is not None:
        given["expiresIn"] = as_duration(expires_in)
    if dry_run:
        given["dryRun"] = True
    return given


# `--template`, `--locale` and `--set`: a template by its name, with values for its variables.


_FIND = """
query Find($filter: TemplateFilter!, $after: String) {
  templates(first: 100, after: $after, filter: $filter) {
    nodes { id name locale approval variables { name } }
    pageInfo { hasNextPage endCursor }
  }
}
"""


@dataclass(frozen=True, slots=True)
class FoundTemplate:
    """A template that was found by its name, and what its gaps are called."""

    id: str
    name: str
    gaps: Sequence[str]


class Pair(click.ParamType[tuple[str, str]]):
    """A gap and its value, as NAME=VALUE."""

    name = "name=value"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        name, sign, text = Utf8Text().convert(value, param, ctx).partition("=")
        if not sign or not name:
            self.fail(f"{value} is no NAME=VALUE, like name=Ana.", param, ctx)
        return name, text


def template_options(command: Command) -> Command:
    """Let a command take a template instead of TEXT."""
    for option in (
        click.option("--set", "pairs", type=Pair(), multiple=True, metavar="NAME=VALUE", help="Fill a gap."),
        click.option("--locale", type=Utf8Text(), help="Its language, where it has several: pt-BR."),
        click.option("--template", type=Utf8Text(), metavar="NAME", help="Send a template instead of TEXT."),
    ):
        command = option(command)
    return command


def check_choice(text: str | None, template: str | None, locale: str | None, pairs: Sequence[Any]) -> None:
    """Raise UsageError unless there is either a text or a template, and nothing that fits neither."""
    if text is not None and template is not None:
        raise click.UsageError("Give TEXT or --template, not both.")
    if template is None and (locale or pairs):
        raise click.UsageError("--locale and --set go with --template.")
    if template is None and text is None:
        raise click.UsageError("Missing argument 'TEXT': write something, or choose a --template.")


async def template_content(
    api: Api, channel: str, name: str, locale: str | None, pairs: Sequence[tuple[str, str]]
) -> Mapping[str, Any]:
    """Return the content for a message; raises Failure when no template, or more than one, has the name."""
    found = await find_template(api, channel, name, locale)
    variables = [{"key": key, "value": value} for key, value in pairs]
    return {"template": {"templateId": found.id, "variables": variables}}


async def find_template(api: Api, channel: str, name: str, locale: str | None) -> FoundTemplate:
    """Find a template by its name; raises Failure when none, or more than one, has it."""
    named = [one for one in await _listed(api, channel, name) if one["name"] == name]
    fitting = [one for one in named if locale in (None, one["locale"])]
    if not named:
        raise Failure(f"There is no template {name} for {channel}. `interalpha templates list` shows those there are.")
    if len(fitting) != 1:
        there = ", ".join(sorted(one["locale"] for one in named))
        raise Failure(f"The template {name} exists in {there}: choose with --locale.")
    return FoundTemplate(fitting[0]["id"], name, [one["name"] for one in fitting[0]["variables"]])


async def _listed(api: Api, channel: str, name: str) -> Sequence[Mapping[str, Any]]:
    found: list[Mapping[str, Any]] = []
    after = None
    while True:
        condition = {"channels": [channel], "search": name}
        page = (await api.ask(_FIND, {"filter": condition, "after": after}))["templates"]
        found += page["nodes"]
        if not page["pageInfo"]["hasNextPage"]:
            return found
        after = page["pageInfo"]["endCursor"]


_ADDRESS_FIELDS = {"phone": "phone", "email": "email", "whatsapp-user": "whatsappUserId"}
"""Kinds of addresses → the API's names for them."""


def recipient(address: str) -> dict[str, str]:
    """Write an address as the API takes it: a telephone number, an e-mail address or a WhatsApp user id."""
    # Here, because telephone numbers bring a large table, and help should not wait for that.
    from core.addresses import known_address

    return {_ADDRESS_FIELDS[known_address(address).kind]: address}


def first_line(text: str) -> str:
    """The beginning of a text as the subject of an e-mail: its first line, on which a tab is a space."""
    return re.split("[\r\n\u2028\u2029]", text.strip(), maxsplit=1)[0].replace("\t", " ")[:78]
