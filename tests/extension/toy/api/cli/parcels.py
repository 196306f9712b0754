"""`interalpha parcels`: a command of the toy noun."""

import rich_click as click

COMMANDS = {"parcels": ("command", "Say how many parcels there are.", 200)}


@click.command()
def command() -> None:
    """Say how many parcels there are."""
    click.echo("There are no parcels here.")
