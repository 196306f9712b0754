"""`interalpha erase`: erases the data of one person, found by an address."""

import asyncio
from typing import Any

import rich_click as click

from api.cli.client import Api, call, url_option
from api.cli.message_input import recipient
from api.cli.options import Utf8Text
from api.cli.terminal import Failure, confirm, json_option, print_json, yes_option
from core.addresses import known_address, mask

COMMANDS = {"erase": ("command", "Erase everything about one person, found by their address.", 160)}

_COUNTS = "id messages canceled webhooks names requestedAt finishedAt"
_ERASE = f"""
mutation Erase($recipient: RecipientInput!) {{
  eraseRecipient(input: {{recipient: $recipient}}) {{ erasure {{ {_COUNTS} }} errors {{ message }} }}
}}
"""
_HOW_FAR = f"query HowFar($id: ID!) {{ node(id: $id) {{ ... on Erasure {{ {_COUNTS} }} }} }}"
_PAUSE = 0.5


@click.command()
@click.argument("address", type=Utf8Text())
@click.option("--no-wait", is_flag=True, help="Only ask for it; the worker carries it out.")
@yes_option
@json_option
@url_option
def command(address: str, no_wait: bool, yes: bool, as_json: bool, url: str | None) -> None:
    """Erase everything about the person with this telephone number, e-mail address or WhatsApp user id.

    Messages keep what happened and when, and lose whom they went to and what they said; what waits to go there is
    stopped. It does not keep anybody from writing to them again.
    """
    confirm(f"Erase everything about {mask(known_address(address).value)} for good?", yes=yes)

    async def work(api: Api) -> dict[str, Any]:
        payload = (await api.ask(_ERASE, {"recipient": recipient(address)}))["eraseRecipient"]
        if payload["errors"]:
            raise Failure(payload["errors"][0]["message"])
        erasure: dict[str, Any] = payload["erasure"]
        while not (no_wait or erasure["finishedAt"]):
            await asyncio.sleep(_PAUSE)
            erasure = (await api.ask(_HOW_FAR, {"id": erasure["id"]}))["node"]
        return erasure

    erasure = call(url, work)
    if as_json:
        print_json(erasure)
        return
    if erasure["finishedAt"]:
        click.echo(
            f"✓ Erased from {erasure['messages']} messages ({erasure['canceled']} stopped), {erasure['webhooks']} "
            f"webhooks and {erasure['names']} ids and keys named after them."
        )
    else:
        click.echo("✓ Asked for: a worker carries it out.")
    click.echo(f"  Keep its id with the request: {erasure['id']}")
