"""What `send` and `batch send` build: the fields of a SendMessageInput, from options and templates."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeVar

import rich_click as click

from api.cli.client import Api
from api.cli.options import CHANNELS, Duration, Moment, Utf8Text, as_duration, as_moment, read_length
from api.cli.terminal import Failure

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
