"""`interalpha seed`: the templates a new installation begins with."""

import asyncio

import rich_click as click

from api.cli.migrate_command import database_address, explained
from api.cli.surroundings import core_settings, dev_environment


@click.command()
def command() -> None:
    """Put three templates of our own into the database: two for SMS, one for e-mail, in Brazilian Portuguese.

    What is there already stays as it is, so it can be run again. Uses DATABASE_URL_DIRECT, or else DATABASE_URL.
    """
    from api.seeding import seed
    from core.templates.starters import STARTERS

    address = database_address(core_settings(dev_environment()))
    with explained():
        new = {one.id for one in asyncio.run(seed(address))}
    for one in STARTERS:
        word = "made" if one.id in new else "there already"
        click.echo(f"✓ {one.name:<22} {one.channel.lower():<6} {one.locale}   {word}")
    click.echo("\nSend one of them:")
    click.echo('  interalpha send sms "+55 11 98765-4321" --template order_shipped \\')
    click.echo("    --set name=Ana --set order.number=1042 --set day=amanhã")
