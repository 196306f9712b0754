"""`interalpha simulators`: the simulated companies alone, for whoever runs the rest by hand."""

import rich_click as click

from integrations.simulating.server import main


@click.command()
def command() -> None:
    """Run the simulated companies until told to end; prints where they listen as one line of JSON."""
    raise SystemExit(main())
