"""`interalpha worker`: carries messages to companies and applies what they report, as in production."""

import rich_click as click

from api.cli.starting import prepare


@click.command()
def command() -> None:
    """Run a worker until told to end; SIGTERM lets it finish what it has begun. Run as many as you like.

    Starts only with a complete configuration; `interalpha check` shows it.
    """
    configuration = prepare()
    # Here, because it takes seconds: a refusal should come at once.
    from api.worker import run

    run(configuration)
