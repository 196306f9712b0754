"""`interalpha token`: a development token, alone on stdout, so that `$(interalpha token)` is a token."""

from uuid import UUID

import rich_click as click

from api.cli.credentials import development_token
from api.cli.surroundings import dev_environment


@click.command()
@click.option("--tenant", type=click.UUID, help="Who it speaks for (default: the tenant every installation has).")
def command(tenant: UUID | None) -> None:
    """Print a development token: every right, for 30 days, on this installation only.

    Stdout holds the token and nothing else: curl -H "authorization: Bearer $(interalpha token)" …
    """
    token = development_token(dev_environment(), tenant)
    click.echo(
        "A development token: every right, 30 days, this installation only. Send it as Authorization: Bearer …",
        err=True,
    )
    click.echo(token)
