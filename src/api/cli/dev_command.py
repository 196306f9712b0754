"""`interalpha dev`: everything on this machine, with one command and nothing to set up."""

import asyncio
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import rich_click as click

from api.cli import check
from api.cli.arguments import Port
from api.cli.banner import banner, explorer_address
from api.cli.browser import open_browser
from api.cli.calling import screen
from api.cli.failures import Exit, Failure
from api.cli.live import follow
from api.cli.ports import ensure_free
from api.cli.surroundings import own_environment, port_from
from api.cli.terminal import Terminal
from api.configuration import load_configuration
from api.dev.home import Home
from api.dev.part import PartFailed
from api.dev.supervisor import Order, Standing, Supervisor
from api.embedded.errors import EmbeddedStoreError
from api.embedded.folder import LOOPBACK
from core.settings.core_settings import AppEnv

# `timeout` and `make` may hand the same signal on twice: only a later one is somebody losing patience.
_SAME_SIGNAL_SECONDS = 0.5


@click.command()
@click.option("--port", type=Port(), help="The API's port (default: PORT, or 8000).")
@click.option(
    "--data", type=click.Path(path_type=Path), help="The data folder (default: INTERALPHA_HOME, or .interalpha)."
)
@click.option("--memory", is_flag=True, help="Keep nothing: a folder of its own, removed at the end.")
@click.option("--no-open", is_flag=True, help="Open no browser; without a terminal none is opened anyway.")
def command(port: int | None, data: Path | None, memory: bool, no_open: bool) -> None:
    """Run everything on this machine until Ctrl-C: API, worker, PostgreSQL, Valkey, and simulated companies.

    Stores whose address is set (DATABASE_URL, REDIS_URL) and companies that are configured are used as they are.
    """
    if memory and data:
        raise click.UsageError("--memory keeps nothing, so it takes no --data.")
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
    out.print("  Ended; nothing was kept." if memory else f"  Ended. Your data is in {order.home.folder}.")


def _order(port: int | None, data: Path | None, *, forget: bool) -> Order:
    """Decide what is to run; raises Failure when that cannot be."""
    environment = own_environment()
    # Before all else: what production lacks is of no interest here.
    if environment.get("APP_ENV") == AppEnv.PRODUCTION:
        raise Failure(
            "APP_ENV is production, and dev is for development. Run `interalpha serve` and `interalpha worker`.",
            Exit.NOT_CONFIGURED,
        )
    chosen = port_from(environment, port)
    if data is not None:
        environment["INTERALPHA_HOME"] = str(data)
    configuration = load_configuration(environment)
    core = configuration.core
    if core is None or configuration.problems:
        check.render(configuration, screen(stderr=True))
        raise Failure("Not started: mend what is marked ✗ and start again.", Exit.NOT_CONFIGURED)
    ensure_free(LOOPBACK, chosen, f"Give this one another: PORT={chosen + 100 if chosen < 65000 else 8100} make dev")
    return Order(environment, configuration, Home(core.home), chosen, forget)


def _run(order: Order, out: Terminal, *, open_page: bool) -> None:
    def say(part: str, words: str) -> None:
        out.print(f"  {part:<11}  {words}")

    async def narrate(standing: Standing) -> None:
        for line in banner(order, standing):
            out.print(line)
        if open_page and (page := explorer_address(order)):
            await open_browser(page)
        await follow(standing, out)

    async def supervise() -> None:
        stop, haste = _heed_signals(lambda: out.print("  Ending …"))
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
    # The terminal was closed, and nobody asked with `nohup` to outlive it.
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        numbers.append(signal.SIGHUP)
    for number in numbers:
        loop.add_signal_handler(number, end)
    return stop, haste
