"""What commands that call the API have in common: where it is, who calls, and how answers are shown."""

import asyncio
import json
import re
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, TypeVar

import rich_click as click
from rich.console import Console

from api.cli.client import Api, NotSignedFor, OutOfPoints, connect
from api.cli.clocks import clock as clock
from api.cli.clocks import in_local_time
from api.cli.credentials import API_KEY, development_token, given_key
from api.cli.failures import Exit, Failure
from api.cli.surroundings import core_settings, dev_environment, own_environment, port_from
from api.embedded.folder import LOOPBACK
from core.masking import discreet
from core.settings import WrongValue
from core.settings.addresses import check_web_address

Result = TypeVar("Result")
Command = TypeVar("Command", bound=Callable[..., Any])

url_option = click.option(
    "--url",
    metavar="ADDRESS",
    help="The server, as https://host (default: the one on this machine). Another server is called with the API key"
    f" in {API_KEY}; `interalpha --help` says more.",
)
_PAGE = 100
_CONTROLS = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_MOST_WAITS = 10
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def call(url: str | None, work: Callable[[Api], Awaitable[Result]]) -> Result:
    """Do something with the API in an event loop of its own; raises Failure."""
    environment = dev_environment()
    try:
        address = check_web_address(url or f"http://{LOOPBACK}:{port_from(environment, None)}")
    except WrongValue as error:
        raise Failure(f"--url {error}", Exit.USAGE) from None
    key = given_key(environment)
    token = key or development_token(environment, for_cli=True)

    async def connected() -> Result:
        async with connect(address, token) as api:
            return await work(api)

    try:
        return asyncio.run(connected())
    except NotSignedFor as error:
        raise Failure(_other_keys(environment, address) if key is None else _not_believed(address, error)) from None


def _not_believed(address: str, error: NotSignedFor) -> str:
    return f"{address} does not let the key in {API_KEY} in: {error}"


def _other_keys(environment: Mapping[str, str], address: str) -> str:
    if "ENCRYPTION_KEYS" in own_environment():
        return f"Signed with ENCRYPTION_KEYS as it is set here; the server at {address} keeps others. Set its own."
    return (
        f"Signed with the keys of {core_settings(environment).home}; the server at {address} keeps others. "
        "Run with INTERALPHA_HOME=<its folder>."
    )


async def pages(
    api: Api, query: str, variables: Mapping[str, Any], field: str, limit: int | None
) -> AsyncIterator[dict[str, Any]]:
    """Yield the pages of a list until `limit` items were read or it ends; `query` takes `first` and `after`.

    Waits where the caller may not ask for more at the moment.
    """
    after, left = variables.get("after"), limit
    while True:
        first = _PAGE if left is None else min(_PAGE, left)
        page = (await patiently(api, query, {**variables, "first": first, "after": after}))[field]
        yield page
        left = None if left is None else left - first
        after = page["pageInfo"]["endCursor"]
        if not page["pageInfo"]["hasNextPage"] or left == 0:
            return


def listed(
    url: str | None, query: str, variables: Mapping[str, Any], field: str, limit: int | None
) -> tuple[list[dict[str, Any]], bool]:
    """Return the items of a list, and whether there are more; raises Failure."""

    async def work(api: Api) -> tuple[list[dict[str, Any]], bool]:
        nodes: list[dict[str, Any]] = []
        has_more = False
        async for page in pages(api, query, variables, field, limit):
            nodes += page["nodes"]
            has_more = page["pageInfo"]["hasNextPage"]
        return nodes, has_more

    return call(url, work)


async def patiently(api: Api, query: str, variables: Mapping[str, Any]) -> dict[str, Any]:
    """Ask, and ask again when the server says that there are points for it; raises Failure."""
    for _ in range(_MOST_WAITS):
        try:
            return await api.ask(query, variables)
        except OutOfPoints as error:
            click.echo(f"! {error} Going on in {error.seconds} s.", err=True)
            await asyncio.sleep(error.seconds)
    return await api.ask(query, variables)


def limit_options(command: Command) -> Command:
    """Let a command take how many items are listed: --limit, or --all."""
    for option in (
        click.option("--all", "is_all", is_flag=True, help="All of them."),
        click.option(
            "--limit",
            type=click.IntRange(min=1),
            metavar="N",
            default=25,
            show_default=True,
            help="How many to list, newest first.",
        ),
    ):
        command = option(command)
    return command


class Screen(Console):
    """A console on which what the API says of times is said by this machine's clock, as all else.

    What others wrote is printed as text: it never reaches the terminal as a command to it.
    """

    def print(self, *objects: Any, **options: Any) -> None:
        super().print(*(harmless(in_local_time(one)) if isinstance(one, str) else one for one in objects), **options)


def screen(*, stderr: bool = False) -> Screen:
    """Return where lines are printed: coloured for a person, plain and never broken for a machine."""
    return Screen(stderr=stderr, highlight=False, markup=False, emoji=False, soft_wrap=True)


def harmless(text: str) -> str:
    """Show control characters, and marks that turn the direction of a line, as the replacement character."""
    return _CONTROLS.sub("\ufffd", text)


def as_json(value: Any, *, indent: int | None = None) -> str:
    """Write JSON as people read it; control characters that it allows as they are become escapes."""
    written = json.dumps(value, ensure_ascii=False, indent=indent)
    return _CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", written)


def print_json(value: Any) -> None:
    """Print a value as JSON a person can read."""
    sys.stdout.write(as_json(value, indent=2) + "\n")


def masked(message: Mapping[str, Any]) -> dict[str, Any]:
    """Return a message without the companies' ids that spell a number: tokens may see them, terminals need not."""
    if "attempts" not in message:
        return dict(message)
    attempts = [
        {**one, "providerMessageId": discreet(one["providerMessageId"] or "") or None} for one in message["attempts"]
    ]
    return {**message, "attempts": attempts}
