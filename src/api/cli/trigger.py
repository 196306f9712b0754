"""`interalpha trigger`: makes a simulated provider send a signed webhook."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from typing import Any
from urllib.parse import urlsplit

import httpx
import rich_click as click

from api.cli.client import Api, call
from api.cli.environment import DevFolder, core_settings, project_environment
from api.cli.options import Utf8Text
from api.cli.terminal import Exit, Failure, json_option, print_json, screen
from core.ports import Mode
from core.settings.addresses import LOOPBACK, is_loopback
from core.settings.core_settings import AppEnv
from integrations.simulating.client import SimulatorControl, SimulatorRefused

COMMANDS = {"trigger": ("command", "Make a simulated provider send a signed webhook.", 140)}

_MODES = "{ integrations { kind configuration { mode } } }"
_ATTEMPTS = "query($id: ID!) { message(id: $id) { attempts { providerMessageId integration { kind } } } }"


@dataclass(frozen=True, slots=True)
class SimulatedEvent:
    """An event that a simulator can trigger; `parameters` are the names of its options."""

    name: str
    words: str
    parameters: tuple[str, ...]
    company: str
    is_simulated: bool


def simulators_address() -> str:
    """Find the control API of the running `dev`; raises Failure where there is none, and in production."""
    environment = project_environment()
    # Before all else: what production lacks is of no interest here.
    if environment.get("APP_ENV") == AppEnv.PRODUCTION:
        raise Failure("APP_ENV is production: nothing is simulated here, and no event is made up.", Exit.NOT_CONFIGURED)
    settings = core_settings(environment)
    running = DevFolder(settings.home).settings()
    if not running:
        raise Failure(
            f"`interalpha dev` is not running in {settings.home.absolute()}. "
            "Start it with `make dev`, or set INTERALPHA_HOME to its folder.",
            Exit.NOT_CONFIGURED,
        )
    if "SIMULATORS_PORT" not in running:
        raise Failure("Every provider is configured here, so none is simulated.", Exit.NOT_CONFIGURED)
    return f"http://{LOOPBACK}:{running['SIMULATORS_PORT']}"


@dataclass(frozen=True, slots=True)
class Simulators:
    """The simulators' control API, and our own API beside it. Everything raises Failure."""

    control: SimulatorControl
    api: Api

    async def offers(self) -> list[SimulatedEvent]:
        """All events, by provider."""
        found = (await self.api.ask(_MODES, {}))["integrations"]
        modes = {one["kind"].lower(): one["configuration"]["mode"] for one in found}
        companies = (await self.control.everything())["simulators"]
        return [
            SimulatedEvent(
                event["name"], event["words"], tuple(event["parameters"]), name, modes.get(name) == Mode.SIMULATED
            )
            for company in companies
            if (name := company["name"])
            for event in company["events"]
        ]

    async def trigger(self, offer: SimulatedEvent, order: Mapping[str, Any]) -> dict[str, Any]:
        """Make an event happen, and tell how we received its webhook."""
        told = dict(order)
        if "message" in told:
            told["message"] = await self._provider_id(offer.company, str(told["message"]))
        return await self.control.trigger(offer.company, offer.name, **told)

    async def _provider_id(self, company: str, given: str) -> str:
        """Return the provider's id of a message, given that or ours."""
        try:
            await self.control.message(company, given)
        except SimulatorRefused as refusal:
            if refusal.status != httpx.codes.NOT_FOUND:
                raise
        else:
            return given
        message = (await self.api.ask(_ATTEMPTS, {"id": given}))["message"] or {"attempts": []}
        ours = [one for one in message["attempts"] if one["integration"]["kind"].lower() == company]
        if found := [one["providerMessageId"] for one in ours if one["providerMessageId"]]:
            return str(found[-1])
        raise Failure(
            f"{company} does not know the message {given}. `interalpha messages list` shows the ids of messages."
        )


@asynccontextmanager
async def connect_simulators(api: Api, address: str) -> AsyncIterator[Simulators]:
    """Open the control API at an address; what it refuses is a Failure."""
    try:
        async with SimulatorControl(address) as control:
            yield Simulators(control, api)
    except SimulatorRefused as refusal:
        where = f"{refusal.field}: " if refusal.field else ""
        raise Failure(f"{where}{refusal}") from None
    except httpx.HTTPError as error:
        words = f"The simulators do not answer at {address} ({type(error).__name__})."
        raise Failure(f"{words} `make dev` starts them again by itself: try once more.") from None


# `interalpha trigger`: makes a simulated provider send a webhook with a valid signature.


_FLAGS = {"sender": "--from", "text": "--text", "message": "--message", "code": "--code"}
"""What an event may be told → the option that says it; for everything else there is --with."""
_OF_MESSAGES = {"sender", "message"}
"""What events are told that concern one message, ours or a customer's."""


@click.command()
@click.argument("event", type=Utf8Text(), required=False)
@click.option("--list", "is_list", is_flag=True, help="Print the events there are.")
@click.option("--from", "sender", type=Utf8Text(), metavar="ADDRESS", help="Who writes.")
@click.option("--text", type=Utf8Text(), help="What they write.")
@click.option(
    "--message",
    type=Utf8Text(),
    metavar="ID",
    help="The message it is about, by our id or the provider's (default: the newest).",
)
@click.option("--code", type=Utf8Text(), metavar="N", help="The provider's error code: 30003, 131026.")
@click.option(
    "--with", "more", type=Utf8Text(), multiple=True, metavar="NAME=VALUE", help="Anything else an event takes."
)
@json_option
def command(event: str | None, is_list: bool, as_json: bool, more: Sequence[str], **given: Any) -> None:
    """Make a simulated provider of the running `interalpha dev` send EVENT in a signed webhook.

    Events are named like sms.inbound or whatsapp.read; --list prints all of them.
    """
    if (event is None) is not is_list:
        raise click.UsageError("Give an EVENT, or --list to see those there are.")
    order = {**{name: value for name, value in given.items() if value is not None}, **_pairs(more)}
    address = simulators_address()

    async def work(api: Api) -> None:
        async with connect_simulators(api, address) as bench:
            offers = await bench.offers()
            if event is None:
                _print_offers([one for one in offers if one.is_simulated], as_json=as_json)
                return
            offer = _chosen(offers, event)
            _check(offer, order)
            _print_reception(await _trigger(bench, offer, order), offer, about=given["message"], as_json=as_json)

    call(None, work)


async def _trigger(bench: Simulators, offer: SimulatedEvent, order: dict[str, Any]) -> dict[str, Any]:
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


def _chosen(offers: Sequence[SimulatedEvent], name: str) -> SimulatedEvent:
    offer = next((one for one in offers if one.name == name), None)
    if offer is None:
        close = get_close_matches(name, [one.name for one in offers if one.is_simulated], n=1)
        meant = f" Did you mean {close[0]}?" if close else ""
        raise Failure(
            f"There is no event {name}.{meant} `interalpha trigger --list` shows those there are.", Exit.USAGE
        )
    if not offer.is_simulated:
        raise Failure(
            f"{offer.company} is not simulated here: it is configured, and sends real events. "
            f"Remove its settings to let `interalpha dev` simulate it.",
            Exit.NOT_CONFIGURED,
        )
    return offer


def _check(offer: SimulatedEvent, order: dict[str, Any]) -> None:
    if unknown := next((name for name in order if name not in offer.parameters), None):
        takes = ", ".join(_options(offer)) or "nothing"
        raise Failure(f"{offer.name} takes no {_FLAGS.get(unknown, unknown)}; it takes {takes}.", Exit.USAGE)


def _options(offer: SimulatedEvent) -> list[str]:
    return [_FLAGS.get(name, f"--with {name}=…") for name in offer.parameters]


def _print_offers(offers: Sequence[SimulatedEvent], *, as_json: bool) -> None:
    if as_json:
        print_json([asdict(one) for one in offers])
        return
    out = screen()
    for one in offers:
        out.print(f"{one.name:<27}  {one.words}")
        out.print(f"{'':<27}  {' '.join(_options(one))}", style="dim")


def _print_reception(told: dict[str, Any], offer: SimulatedEvent, *, about: str | None, as_json: bool) -> None:
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
        # An id the provider gave is none of ours, and `show` would not know it.
        is_ours = about is not None and about != told["message_id"]
        is_message = not _OF_MESSAGES.isdisjoint(offer.parameters)
        following = f"messages show {about}" if is_ours else "messages list" if is_message else "webhooks list"
        click.echo(f"Next: interalpha {following}", err=True)
