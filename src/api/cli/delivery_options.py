"""When, over which channels and under which names a message goes out: what `send` and `batch send` have in common."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, TypeVar

import rich_click as click

from api.cli.arguments import CHANNELS, Ago, Moment, Words, as_duration, as_moment, read_length

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
            "--expires-in", type=Ago(), metavar="TIME", help="Do not send it later than 30m, 12h or 2d from now."
        ),
        click.option(
            "--quiet-hours", is_flag=True, help="Do not send during the recipient's night: wait until morning."
        ),
        click.option("--in", "after", type=Ago(), metavar="TIME", help="Send it in 30m, 2h, 1d."),
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
            "--external-id", type=Words(), metavar="ID", help="Your own id for the message; each id can be used once."
        ),
        click.option("--idempotency-key", type=Words(), metavar="KEY", help="The same key never sends twice."),
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
