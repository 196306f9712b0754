"""What commands that call the API have in common: where it is, who calls, and how answers are shown."""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any, TypeVar

import rich_click as click
from rich.console import Console

from api.cli.client import Api, connect
from api.cli.credentials import development_token
from api.cli.failures import Exit, Failure
from api.cli.surroundings import dev_environment, port_from
from api.embedded.folder import LOOPBACK
from core.settings import WrongValue
from core.settings.addresses import check_web_address

Result = TypeVar("Result")

url_option = click.option(
    "--url", metavar="ADDRESS", help="The server, as http://host:port (default: the one `interalpha dev` runs here)."
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def call(url: str | None, work: Callable[[Api], Awaitable[Result]]) -> Result:
    """Do something with the API in an event loop of its own; raises Failure."""
    environment = dev_environment()
    try:
        address = check_web_address(url or f"http://{LOOPBACK}:{port_from(environment, None)}")
    except WrongValue as error:
        raise Failure(f"--url {error}", Exit.USAGE) from None
    token = development_token(environment)

    async def connected() -> Result:
        async with connect(address, token) as api:
            return await work(api)

    return asyncio.run(connected())


def screen(*, stderr: bool = False) -> Console:
    """Return where lines are printed: coloured for a person, plain and never broken for a machine."""
    return Console(stderr=stderr, highlight=False, markup=False, emoji=False, soft_wrap=True)


def print_json(value: Any) -> None:
    """Print a value as JSON a person can read."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, indent=2) + "\n")


def clock(moment: str, *, millis: bool = True) -> str:
    """Show an API's moment in this machine's time, with the day unless it is today."""
    local = datetime.fromisoformat(moment).astimezone()
    day = "" if local.date() == datetime.now().astimezone().date() else f"{local:%Y-%m-%d} "
    return f"{day}{local:%H:%M:%S}" + (f".{local.microsecond // 1000:03d}" if millis else "")


def seconds_between(start: str, end: str) -> float:
    """Return the seconds from one of an API's moments to another."""
    return (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds()
