"""`interalpha trigger`: lets a simulated company tell us something, signed as the real one would."""

from collections.abc import Sequence
from dataclasses import asdict
from difflib import get_close_matches
from typing import Any
from urllib.parse import urlsplit

import rich_click as click

from api.cli.arguments import Words
from api.cli.calling import call, json_option, print_json, screen
from api.cli.client import Api
from api.cli.failures import Exit, Failure
from api.cli.workbench import Offer, Workbench, simulators_address, workbench
from core.settings.addresses import is_loopback
from integrations.simulating.client import SimulatorRefused

_FLAGS = {"sender": "--from", "text": "--text", "message": "--message", "code": "--code"}
"""What an event may be told → the option that says it; for everything else there is --with."""
_OF_MESSAGES = {"sender", "message"}
"""What events are told that concern one message, ours or a customer's."""


@click.command()
@click.argument("event", type=Words(), required=False)
@click.option("--list", "is_list", is_flag=True, help="Print the events there are.")
@click.option("--from", "sender", type=Words(), metavar="ADDRESS", help="Who writes.")
@click.option("--text", type=Words(), help="What they write.")
@click.option(
    "--message",
    type=Words(),
    metavar="ID",
    help="The message it is about, by our id or the company's (default: newest).",
)
@click.option("--code", type=Words(), metavar="N", help="The provider's error code: 30003, 131026.")
@click.option("--with", "more", type=Words(), multiple=True, metavar="NAME=VALUE", help="Anything else an event takes.")
@json_option
def command(event: str | None, is_list: bool, as_json: bool, more: Sequence[str], **given: Any) -> None:
    """Let a simulated company of the running `interalpha dev` tell us of EVENT, in a signed webhook.

    Events are named like sms.inbound or whatsapp.read; --list prints all of them.
    """
    if (event is None) is not is_list:
        raise click.UsageError("Give an EVENT, or --list to see those there are.")
    order = {**{name: value for name, value in given.items() if value is not None}, **_pairs(more)}
    address = simulators_address()

    async def work(api: Api) -> None:
        async with workbench(api, address) as bench:
            offers = await bench.offers()
            if event is None:
                _print_offers([one for one in offers if one.is_simulated], as_json=as_json)
                return
            offer = _chosen(offers, event)
            _check(offer, order)
            _print_reception(await _trigger(bench, offer, order), offer, about=given["message"], as_json=as_json)

    call(None, work)


async def _trigger(bench: Workbench, offer: Offer, order: dict[str, Any]) -> dict[str, Any]:
    """Make the event happen; what is wrong with an option is said with the option's name."""
    try:
        return await bench.trigger(offer, order)
    except SimulatorRefused as refusal:
        if refusal.field is None:
            raise
        name = refusal.field.partition(".")[0]
        raise Failure(f"{_FLAGS.get(name, f'--with {name}=…')}: {refusal}.", Exit.USAGE) from None


def _pairs(more: Sequence[str]) -> dict[str, str]:
    pairs = [one.partition("=") for one in more]
    if wrong := next((name for name, equals, _ in pairs if not (name and equals)), None):
        raise click.UsageError(f"--with takes NAME=VALUE, and {wrong} is none.")
    return {name: value for name, _, value in pairs}


def _chosen(offers: Sequence[Offer], name: str) -> Offer:
    offer = next((one for one in offers if one.name == name), None)
    if offer is None:
        close = get_close_matches(name, [one.name for one in offers if one.is_simulated], n=1)
        meant = f" Did you mean {close[0]}?" if close else ""
        raise Failure(
            f"There is no event {name}.{meant} `interalpha trigger --list` shows those there are.", Exit.USAGE
        )
    if not offer.is_simulated:
        raise Failure(
            f"{offer.company} is not simulated here: it is configured, and tells us itself what happens. "
            f"Without its settings, `interalpha dev` simulates it.",
            Exit.NOT_CONFIGURED,
        )
    return offer


def _check(offer: Offer, order: dict[str, Any]) -> None:
    if unknown := next((name for name in order if name not in offer.parameters), None):
        takes = ", ".join(_options(offer)) or "nothing"
        raise Failure(f"{offer.name} takes no {_FLAGS.get(unknown, unknown)}; it takes {takes}.", Exit.USAGE)


def _options(offer: Offer) -> list[str]:
    return [_FLAGS.get(name, f"--with {name}=…") for name in offer.parameters]


def _print_offers(offers: Sequence[Offer], *, as_json: bool) -> None:
    if as_json:
        print_json([asdict(one) for one in offers])
        return
    out = screen()
    for one in offers:
        out.print(f"{one.name:<27}  {one.words}")
        out.print(f"{'':<27}  {' '.join(_options(one))}", style="dim")


def _print_reception(told: dict[str, Any], offer: Offer, *, about: str | None, as_json: bool) -> None:
    if as_json:
        print_json(told)
    parts, status = urlsplit(told["url"]), told["status"]
    where = parts.path if is_loopback(told["url"]) else f"{parts.scheme}://{parts.netloc}{parts.path}"
    if status is None:
        raise Failure(f"POST {where} was not answered: {told['detail']}. Does PUBLIC_BASE_URL lead to this server?")
    if not as_json:
        screen().print(f"POST {where} {status} {told['millis']:.0f} ms")
    if status >= 300:
        raise Failure(f"It was refused with {status}. The API's log says why; `interalpha dev` shows where that is.")
    if not as_json:
        # An id the company gave is none of ours, and `show` would not know it.
        is_ours = about is not None and about != told["message_id"]
        is_message = not _OF_MESSAGES.isdisjoint(offer.parameters)
        following = f"messages show {about}" if is_ours else "messages list" if is_message else "webhooks list"
        click.echo(f"Next: interalpha {following}", err=True)
