"""The command line: `interalpha`. Each command's module is imported when it is used, so that help comes at once."""

import os
import sys
from errno import ENOSPC, EPIPE
from typing import Any

import rich_click as click

from api.cli.deferred import CommandGroup, Deferred
from api.cli.terminal import Exit, name_zone

_COMMANDS = {
    "dev": "Run everything on this machine: API, worker, stores, simulated companies.",
    "serve": "Run the API (production).",
    "worker": "Run a worker (production).",
    "check": "Is the configuration complete and consistent? Sends nothing.",
    "send": "Send one message through the API, and see it arrive.",
    "batch": "Send messages to many people from a file; cancel them.",
    "messages": "List, show, cancel and settle messages.",
    "listen": "Messages as they move, live; forwarded too, if you like.",
    "replay": "Try failed work again, one by one or all of it.",
    "dead-letters": "Work that was given up, and what to do about it.",
    "webhooks": "What companies told us, and what became of it.",
    "templates": "List templates, and whether they can be sent.",
    "providers": "The companies we work through, and whether calls to them flow.",
    "trigger": "Let a simulated company tell us something, in a signed webhook.",
    "api-keys": "The keys servers call with: make, list, revoke.",
    "erase": "Erase everything about one person, by an address of theirs.",
    "keys": "Under which keys personal data lies; seal it anew under the current one.",
    "token": "Print a development token.",
    "migrate": "Bring the database up to date, or back.",
    "seed": "Put three templates of our own into the database.",
    "schema": "Print the GraphQL schema, or compare it with schema.graphql.",
    "reset": "Remove what `interalpha dev` keeps on this machine.",
}


@click.group(
    cls=CommandGroup,
    commands=[
        *(
            Deferred(name, f"api.cli.{name.replace('-', '_')}_command", short_help=words)
            for name, words in _COMMANDS.items()
        ),
        Deferred("simulators", "api.cli.serve", hidden=True),
    ],
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(package_name="interalpha", message="%(prog)s %(version)s")
def interalpha() -> None:
    """One GraphQL API for everything a business says, charges and schedules through other companies.

    Begin with `make dev`, and then, in another terminal: interalpha send sms "+55 11 98765-4321" "Olá!"

    In production the commands that call the API do so with the key in INTERALPHA_API_KEY or INTERALPHA_API_KEY_FILE.
    """


def main() -> Any:
    """Run the command line."""
    try:
        try:
            return interalpha(prog_name="interalpha")
        finally:
            # Here, so that what cannot be written is noticed before the interpreter ends.
            sys.stdout.flush()
    except OSError as error:
        if error.errno not in (ENOSPC, EPIPE):
            raise
        # What is buffered would be tried, and complained of, once more at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if error.errno == ENOSPC:
            click.echo("✗ The disk is full: not all of the output could be written. What was done is done.", err=True)
        sys.exit(Exit.FAILED)
    finally:
        name_zone(lambda words: click.echo(words, err=True))
