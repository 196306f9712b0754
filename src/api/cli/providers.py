"""`interalpha providers`: providers, their circuit breakers, and what is wrong with their settings."""

from collections.abc import Iterator, Mapping
from typing import Any

import rich_click as click

from api.cli.client import Api, call, url_option
from api.cli.options import Utf8Text
from api.cli.terminal import Failure, clock, json_option, print_json, screen

COMMANDS = {"providers": ("command", "List providers and their circuit breakers.", 130)}

_FIELDS = """
kind name
configuration { state mode problems { setting message } }
circuit { state consecutiveFailures openedAt retryAt }
"""
_LIST = f"query Providers {{ integrations {{ {_FIELDS} }} }}"
_RESET = f"""
mutation ResetCircuit($input: ResetCircuitInput!) {{
  resetCircuit(input: $input) {{ integration {{ {_FIELDS} }} errors {{ ... on UserError {{ message }} }} }}
}}
"""
_MARKS = {"CLOSED": "✓", "HALF_OPEN": "!", "OPEN": "✗"}


@click.group()
def command() -> None:
    """List providers and their circuit breakers; reset a circuit breaker."""


@command.command("list")
@json_option
@url_option
def list_(as_json: bool, url: str | None) -> None:
    """List every provider: simulated or live, its circuit breaker, and problems with its settings."""
    found = call(url, _providers)
    if as_json:
        print_json(found)
        return
    out = screen()
    for one in found:
        for line in _lines(one):
            out.print(line)


@command.command("reset-circuit")
@click.argument("name", type=Utf8Text(), metavar="NAME")
@json_option
@url_option
def reset_circuit(name: str, as_json: bool, url: str | None) -> None:
    """Close the circuit breaker of NAME, so that calls to it resume at once."""

    async def work(api: Api) -> dict[str, Any]:
        kinds = [one["kind"].lower() for one in await _providers(api)]
        if name.lower() not in kinds:
            raise Failure(f"There is no provider {name}. There are: {', '.join(kinds)}.")
        payload = (await api.ask(_RESET, {"input": {"kind": name.upper()}}))["resetCircuit"]
        if payload["errors"]:
            raise Failure("\n  ".join(error["message"] for error in payload["errors"]))
        integration: dict[str, Any] = payload["integration"]
        return integration

    integration = call(url, work)
    if as_json:
        print_json(integration)
        return
    for line in _lines(integration):
        screen().print(line)


async def _providers(api: Api) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await api.ask(_LIST, {}))["integrations"]
    return found


def _lines(one: Mapping[str, Any]) -> Iterator[str]:
    """The provider's line, and one for each setting that is wrong."""
    configuration, circuit = one["configuration"], one["circuit"]
    is_used = configuration["mode"] is not None
    mark = _MARKS.get(circuit["state"], "!") if is_used else "✗" if configuration["problems"] else "○"
    state = configuration["mode"].lower() if is_used else "not configured"
    yield f"{mark} {one['kind'].lower():<15}  {state:<14}  {_circuit(circuit) if is_used else ''}".rstrip()
    for problem in configuration["problems"]:
        yield f"    {problem['setting']} {problem['message']}"


def _circuit(circuit: Mapping[str, Any]) -> str:
    words = f"circuit {circuit['state'].lower().replace('_', '-')}"
    if failures := circuit["consecutiveFailures"]:
        words += f", {failures} failure{'' if failures == 1 else 's'} in a row"
    if circuit["state"] == "OPEN":
        words += f", next trial at {clock(circuit['retryAt'], millis=False)}"
    return words
