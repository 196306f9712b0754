"""What commands that call the API have in common: where it is, who calls, and how answers are shown."""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

import rich_click as click
from rich.console import Console

from api.cli.client import Api, NotSignedFor, connect
from api.cli.clocks import clock as clock
from api.cli.clocks import in_local_time
from api.cli.credentials import API_KEY, development_token, given_key
from api.cli.failures import Exit, Failure
from api.cli.surroundings import core_settings, dev_environment, own_environment, port_from
from api.embedded.folder import LOOPBACK
from core.privacy.spelling import discreet
from core.settings import WrongValue
from core.settings.addresses import check_web_address

Result = TypeVar("Result")

url_option = click.option(
    "--url",
    metavar="ADDRESS",
    help="The server, as https://host (default: the one on this machine). Another one than `interalpha dev` runs is"
    f" called with the API key in {API_KEY}, or in the file that {API_KEY}_FILE names.",
)
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


class _Screen(Console):
    """A console on which what the API says of times is said by this machine's clock, as all else."""

    def print(self, *objects: Any, **options: Any) -> None:
        super().print(*(in_local_time(one) if isinstance(one, str) else one for one in objects), **options)


def screen(*, stderr: bool = False) -> Console:
    """Return where lines are printed: coloured for a person, plain and never broken for a machine."""
    return _Screen(stderr=stderr, highlight=False, markup=False, emoji=False, soft_wrap=True)


def print_json(value: Any) -> None:
    """Print a value as JSON a person can read."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, indent=2) + "\n")


def masked(message: Mapping[str, Any]) -> dict[str, Any]:
    """Return a message without the companies' ids that spell a number: tokens may see them, terminals need not."""
    attempts = [
        {**one, "providerMessageId": discreet(one["providerMessageId"] or "") or None} for one in message["attempts"]
    ]
    return {**message, "attempts": attempts}
