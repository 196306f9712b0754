"""`interalpha token`: a development token, alone on stdout, so that `$(interalpha token)` is a token."""

from uuid import UUID

import rich_click as click

from api.cli.api_keys_command import database_explained
from api.cli.credentials import development_token
from api.cli.failures import Exit, Failure
from api.cli.surroundings import core_settings, dev_environment


@click.command()
@click.option("--tenant", type=click.UUID, help="Who it speaks for (default: the tenant every installation has).")
def command(tenant: UUID | None) -> None:
    """Print a development token: every right, for 30 days (DEVELOPMENT_TOKEN_DAYS), on this installation only.

    Stdout holds the token and nothing else: curl -H "authorization: Bearer $(interalpha token)" …
    """
    environment = dev_environment()
    token = development_token(environment, tenant)
    if tenant is not None:
        _check(environment, tenant)
    days = core_settings(environment).development_token_days
    click.echo(
        f"A development token: every right, {days} days, this installation only. Send it as Authorization: Bearer …",
        err=True,
    )
    click.echo(token)


def _check(environment: dict[str, str], tenant: UUID) -> None:
    """Raise Failure for a tenant that is not there: with a token for it nothing could be done."""
    settings = core_settings(environment)
    address = settings.database_url or settings.database_url_direct
    if address is None:
        text = "There is no database to look the tenant up in. Start `make dev`, or set DATABASE_URL."
        raise Failure(text, Exit.NOT_CONFIGURED)
    # Here, because it brings SQLAlchemy, and help and refusals should not wait for that.
    from api.key_books import check_tenant

    with database_explained():
        check_tenant(address.get_secret_value(), tenant)
