"""The command line: `interalpha`. Each command's module is imported when it is used, so that help comes at once."""

import os
import sys
from errno import ENOSPC, EPIPE
from typing import Any

import rich_click as click

from api.cli.options import CommandGroup, Deferred
from api.cli.terminal import Exit, name_zone

_COMMANDS = {
    "serve": ("serve:serve_command", "Run the API (production)."),
    "worker": ("serve:worker_command", "Run a worker (production)."),
    "check": ("check:command", "Check the configuration. Sends nothing."),
    "send": ("send:command", "Send one message through the API and follow it until it is delivered."),
    "batch": ("batch:command", "Send messages to many people from a file; show and cancel batches."),
    "messages": ("messages:command", "List, show, cancel and settle messages."),
    "listen": ("listen:command", "Print changes of messages as they happen; forward them to a local program."),
    "replay": ("dead_letters:replay_command", "Try failed work again."),
    "dead-letters": ("dead_letters:dead_letters_command", "List dead letters, requeue or discard them."),
    "problems": ("problems:command", "List problems: conditions that need an operator."),
    "webhooks": ("webhooks:command", "List, show and replay webhooks from providers."),
    "templates": ("templates:command", "List templates, and whether they can be sent."),
    "providers": ("providers:command", "List providers and their circuit breakers."),
    "trigger": ("trigger:command", "Make a simulated provider send a signed webhook."),
    "api-keys": ("api_keys:api_keys_command", "Create, list and revoke API keys."),
    "erase": ("erase:command", "Erase everything about one person, found by their address."),
    "keys": (
        "encryption_keys:command",
        "Show which keys encrypt personal data; re-encrypt it under the current one.",
    ),
    "token": ("api_keys:token_command", "Print a development token."),
    "migrate": ("database:migrate_command", "Migrate the database's tables."),
    "seed": ("database:seed_command", "Create three example templates in the database."),
    "schema": ("schema:command", "Print the GraphQL schema, or compare it with schema.graphql."),
}


@click.group(
    cls=CommandGroup,
    commands=[
        *(Deferred(name, f"api.cli.{target}", short_help=words) for name, (target, words) in _COMMANDS.items()),
        Deferred("simulators", "api.cli.serve:simulators_command", hidden=True),
    ],
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(package_name="interalpha", message="%(prog)s %(version)s")
def interalpha() -> None:
    """One GraphQL API for everything a business says, charges and schedules through external providers.

    Start with `make dev`. Then, in another terminal:

    \b
        interalpha send sms "+55 11 98765-4321" "Olá!"

    In production, commands that call the API use the key in INTERALPHA_API_KEY or INTERALPHA_API_KEY_FILE.
    """


def main() -> Any:
    """Run the command line."""
    try:
        try:
            return interalpha(prog_name="interalpha")
        finally:
            # Flushed here, so that a write error is noticed before the interpreter ends.
            sys.stdout.flush()
    except OSError as error:
        if error.errno not in (ENOSPC, EPIPE):
            raise
        # Otherwise the interpreter would try to write the buffer again at exit, and print an error.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if error.errno == ENOSPC:
            click.echo(
                "✗ The disk is full: part of the output could not be written. The command itself was completed.",
                err=True,
            )
        sys.exit(Exit.FAILED)
    finally:
        name_zone(lambda words: click.echo(words, err=True))
