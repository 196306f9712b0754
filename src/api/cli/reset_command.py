"""`interalpha reset`: removes what `interalpha dev` keeps on this machine, and nothing else."""

import asyncio
import sys
from pathlib import Path

import rich_click as click

from api.cli.failures import Failure
from api.cli.surroundings import core_settings, own_environment
from api.dev.home import Home
from api.embedded.errors import EmbeddedStoreError
from api.embedded.stores import Stores


@click.command()
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--data", type=click.Path(path_type=Path), help="The folder (default: INTERALPHA_HOME, or .interalpha).")
def command(yes: bool, data: Path | None) -> None:
    """Remove the messages, keys and logs of `interalpha dev`. Other files in its folder stay."""
    folder = data or core_settings(own_environment()).home
    if not folder.is_dir():
        click.echo(f"✓ There is no {folder}: nothing to remove.")
        return
    if not yes:
        if not sys.stdin.isatty():
            raise Failure(f"This removes all data in {folder}, and nobody can be asked here. Say --yes if it is meant.")
        click.confirm(f"Remove all messages, keys and logs in {folder}?", abort=True)
    try:
        asyncio.run(Stores(folder).erase())
    except EmbeddedStoreError as error:
        raise Failure(str(error)) from None
    except OSError as error:
        raise Failure(f"Not everything could be removed: {error}. Mend that, and run it again.") from None
    # After the stores: what the keys have sealed must not outlive them, nor go without the folder being ours.
    Home(folder).wipe()
    click.echo(f"✓ {folder} is as new. The next `make dev` starts from nothing.")
