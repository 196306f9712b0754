"""`interalpha reset`: removes what `interalpha dev` keeps on this machine, and nothing else."""

import asyncio
import sys
from pathlib import Path

import rich_click as click

from api.cli.failures import Failure
from api.cli.surroundings import core_settings, own_environment
from api.dev.home import Home
from api.embedded.errors import EmbeddedStoreError
from api.embedded.lock import LOCK
from api.embedded.ownership import unmark
from api.embedded.stores import Stores


@click.command()
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--data", type=click.Path(path_type=Path), help="The folder (default: INTERALPHA_HOME, or .interalpha).")
def command(yes: bool, data: Path | None) -> None:
    """Remove the messages, keys and logs of `interalpha dev`. Other files in its folder stay."""
    folder = data or core_settings(own_environment()).home
    try:
        if not folder.exists():
            click.echo(f"✓ There is no {folder}: nothing to remove.")
        elif folder.is_dir() and [path.name for path in folder.iterdir()] == [LOCK]:
            # What an earlier reset leaves.
            click.echo(f"✓ There is nothing in {folder}: nothing to remove.")
        else:
            _reset(folder, yes)
    except EmbeddedStoreError as error:
        raise Failure(str(error)) from None
    except OSError as error:
        words = f"{error.filename or folder}: {error.strerror or error}"
        raise Failure(f"Not everything could be removed. {words}. Mend that, and run it again.") from None


def _reset(folder: Path, yes: bool) -> None:
    stores = Stores(folder)
    # Held before anybody is asked, and until all is gone: an answer may take its time.
    with stores.held():
        if not yes:
            _ask(folder)
        asyncio.run(stores.erase())
        # After the stores: what the keys have sealed must not outlive them. The mark goes last: until then it is ours.
        Home(folder).wipe()
        unmark(folder)
    click.echo(f"✓ {folder} is as new. The next `make dev` starts from nothing.")


def _ask(folder: Path) -> None:
    if not sys.stdin.isatty():
        raise Failure(f"This removes all data in {folder}, and nobody can be asked here. Say --yes if it is meant.")
    click.confirm(f"Remove all messages, keys and logs in {folder}?", abort=True)
