"""`interalpha migrate` and `interalpha seed`: the database's tables and the first templates."""

import asyncio
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple, TypeVar

import rich_click as click

from api.cli.environment import core_settings, dev_environment
from api.cli.options import Utf8Text
from api.cli.terminal import Exit, Failure, json_option, print_json
from core.settings import CoreSettings

COMMANDS = {
    "migrate": ("migrate_command", "Migrate the database's tables.", 190),
    "seed": ("seed_command", "Create three example templates in the database.", 200),
}

Result = TypeVar("Result")


class State(NamedTuple):
    """Where a database is: its revision, and the contracts that were not applied yet."""

    current: str | None
    left: Sequence[str]


# Alembic and SQLAlchemy are imported where they are used: importing them takes half a second.


@click.group()
def migrate_command() -> None:
    """Bring the database up to date, or back. Uses DATABASE_URL_DIRECT, or else DATABASE_URL."""


@migrate_command.command()
@click.argument("revision", default="head")
def up(revision: str) -> None:
    """Apply migrations up to REVISION, the newest unless named."""
    from api.migrations import upgrade

    settings = _settings()
    waits = _migrate(lambda: upgrade(database_address(settings), revision))
    click.echo(f"✓ The database is at {_state(settings).current}.")
    if waits:
        # No failure: a new version is rolled out on what was added, and what is to go is taken away afterwards.
        click.echo("! What only the old version needs was not removed yet:")
        for reason in waits:
            click.echo(f"  - {reason}")
        click.echo("  The new version works. Run `interalpha migrate up` again later.")


@migrate_command.command()
@click.argument("revision", default="-1")
@click.option("--yes", is_flag=True, help="Do not ask.")
def down(revision: str, yes: bool) -> None:
    """Take migrations back to REVISION, the one before unless named. What they added is lost."""
    from api.migrations import downgrade

    settings = _settings()
    if not yes:
        if settings.is_production or not sys.stdin.isatty():
            raise Failure("This loses data, and there is no terminal to ask for confirmation. Add --yes.")
        click.confirm(f"Go back from {_state(settings).current} to {revision}, and lose what that added?", abort=True)
    _migrate(lambda: downgrade(database_address(settings), revision))
    click.echo(f"✓ The database is at {_state(settings).current}.")


@migrate_command.command()
@json_option
def status(as_json: bool) -> None:
    """Say which revision the database is at, which is the newest, and what is still to be taken away."""
    from api.migrations import head_revision

    (current, left), newest = _state(_settings()), head_revision()
    if as_json:
        print_json({"current": current, "newest": newest, "is_current": current == newest, "contracts_left": left})
    elif current == newest:
        click.echo(f"✓ The database is at {current}, the newest.")
        if left:
            click.echo(f"! Not applied yet: {', '.join(left)}. `interalpha migrate up` applies it, or says why not.")
    else:
        click.echo(f"! The database is at {current or 'none'}, the newest is {newest}: interalpha migrate up")


@migrate_command.command()
@click.argument("text", type=Utf8Text())
def new(text: str) -> None:
    """Write a migration named TEXT for what the tables in the code say and the database does not."""
    from api.migrations import new as write

    _migrate(lambda: write(database_address(_settings()), text))


def _settings() -> CoreSettings:
    return core_settings(dev_environment())


def database_address(settings: CoreSettings) -> str:
    """Return the address that may change tables; raises Failure when there is none."""
    address = settings.database_url_direct or settings.database_url
    if address is None:
        raise Failure("There is no database to work on. Start `make dev`, or set DATABASE_URL.", Exit.NOT_CONFIGURED)
    return address.get_secret_value()


def _migrate(work: Callable[[], Result]) -> Result:
    from alembic.util import CommandError

    with database_errors_explained():
        try:
            return work()
        except CommandError as error:
            raise Failure(f"{error} `interalpha migrate status` says where the database is.") from None


def _state(settings: CoreSettings) -> State:
    from api.migrations import contracts_left, current_revision
    from core.database import make_engine

    async def ask() -> State:
        engine = make_engine(database_address(settings), prepared_statements=False)
        try:
            async with engine.connect() as connection:
                return State(await current_revision(connection), await contracts_left(connection))
        finally:
            await engine.dispose()

    with database_errors_explained():
        return asyncio.run(ask())


@contextmanager
def database_errors_explained() -> Iterator[None]:
    """Turn what a database can answer into words; an address in it holds a password, and is not shown."""
    import asyncpg
    import structlog
    from sqlalchemy.exc import DBAPIError

    from core.errors import Overloaded
    from core.store_faults import database_fault

    if not structlog.is_configured():
        # What a command prints is its answer alone.
        structlog.configure(logger_factory=structlog.WriteLoggerFactory(sys.stderr))
    try:
        yield
    except Overloaded as error:
        fault = database_fault(error.__cause__)
        raise Failure(f"{error.message} {fault or 'Is DATABASE_URL right?'}") from None
    except (OSError, UnicodeError, asyncpg.InterfaceError, asyncpg.InternalClientError) as error:
        raise Failure(f"The database cannot be reached. {database_fault(error)}") from None
    except (DBAPIError, asyncpg.PostgresError) as error:
        words = str(getattr(error, "orig", None) or error).splitlines()[0]
        fault = database_fault(error)
        advice = f"{fault.detail} {fault.advice} Nothing" if fault else "Correct that, and try again: nothing"
        raise Failure(f"The database refuses: {words} {advice} was changed.") from None


# `interalpha seed`: the templates a new installation begins with.


@click.command()
def seed_command() -> None:
    """Put three templates of our own into the database: two for SMS, one for e-mail, in Brazilian Portuguese.

    What is there already stays as it is, so it can be run again. Uses DATABASE_URL_DIRECT, or else DATABASE_URL.
    """
    from api.database_commands import seed
    from core.templates.starters import STARTERS

    address = database_address(core_settings(dev_environment()))
    with database_errors_explained():
        new = {one.id for one in asyncio.run(seed(address))}
    for one in STARTERS:
        word = "made" if one.id in new else "there already"
        click.echo(f"✓ {one.name:<22} {one.channel.lower():<6} {one.locale}   {word}")
    click.echo("\nSend one of them:")
    click.echo('  interalpha send sms "+55 11 98765-4321" --template order_shipped \\')
    click.echo("    --set name=Ana --set order.number=1042 --set day=amanhã")
