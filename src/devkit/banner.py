"""What `interalpha dev` prints once everything runs: addresses, next steps, changes of messages."""

import asyncio
import shlex
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import version
from pathlib import Path

from rich.console import Console
from rich.text import Text

from api.cli.client import connect, development_token
from api.cli.environment import program
from api.cli.listen import _PAUSE_SECONDS, CHANGES, change_line
from api.cli.terminal import Failure, name_zone
from api.configuration import IntegrationConfiguration
from core.ports import Mode
from core.settings.addresses import LOOPBACK, is_loopback
from devkit.supervisor import DevOptions, RunningStack

_WIDTH = 88


def banner(order: DevOptions, standing: RunningStack) -> Iterator[Text]:
    """Yield the lines."""
    title = f"  interalpha {version('interalpha')} · {order.environment.get('APP_ENV', 'development')}"
    ready = f"ready in {standing.seconds:.1f} s"
    yield Text()
    yield Text.assemble((title, "bold"), ready.rjust(_WIDTH - len(title)))
    yield Text()
    for name, where, words in _places(order, standing):
        line = Text.assemble("  ", (f"{name:<17}", "bold"), f"{where:<37} ", (words, "dim"))
        line.rstrip()
        yield line
    yield Text.assemble("  ", (f"{'Providers':<17}", "bold"), _providers(order, standing))
    live = _live(order)
    for warning in (*map(str, order.configuration.warnings), *_costs(live), *_unheard(order, standing, live)):
        yield Text.assemble("  ", ("!", "yellow"), f" {warning}")
    yield Text()
    yield from _next(order, is_live=bool(live))
    yield Text()


def explorer_address(order: DevOptions) -> str | None:
    """Return where the Explorer is, unless it is off."""
    core = order.configuration.core
    return f"http://localhost:{order.port}/" if core and core.has_explorer else None


def _places(order: DevOptions, standing: RunningStack) -> Iterator[tuple[str, str, str]]:
    local, folder, stores = f"http://localhost:{order.port}", order.home.folder, standing.stores
    data = "" if _is_usual(folder) else f" --data {shlex.quote(str(folder))}"
    kept = "until it ends" if order.forget else f"kept until `interalpha reset{data}`"
    if explorer := explorer_address(order):
        yield "Explorer", explorer, "GraphiQL, signed in"
    yield "GraphQL", f"{local}/graphql", "HTTP · WebSocket · SSE"
    yield "Health", f"{local}/health/ready", ""
    if standing.simulators:
        yield "Simulators", f"{standing.simulators}/sim/api", "what they saw, and faults on order"
    postgres = f"PostgreSQL {stores.postgres_version}" if stores.app else "PostgreSQL"
    yield postgres, str(folder / "postgres") if stores.app else "DATABASE_URL", f"tables at {standing.revision}"
    valkey = stores.valkey_version if stores.redis else "Redis"
    yield valkey, str(folder / "valkey") if stores.redis else "REDIS_URL", kept if stores.redis else ""
    yield "Worker", "own process", ""
    yield "Logs", str(order.home.logs), ""


def _providers(order: DevOptions, standing: RunningStack) -> str:
    signs = {Mode.SIMULATED: "○", Mode.SANDBOX: "◐", Mode.LIVE: "●"}
    spoken = {name: one for name, one in order.configuration.integrations.items() if one.card.connect is not None}
    modes = {name: Mode.SIMULATED if name in standing.simulated else one.mode for name, one in spoken.items()}
    shown = "  ".join(f"{name} {signs[mode] if mode else '–'}" for name, mode in modes.items())
    return f"{shown}     ○ simulated  ● live"


def _live(order: DevOptions) -> Mapping[str, IntegrationConfiguration]:
    """Return the providers whose messages leave this machine."""
    spoken = {name: one for name, one in order.configuration.integrations.items() if one.card.connect is not None}
    return {name: one for name, one in spoken.items() if one.mode is Mode.LIVE}


def _costs(live: Iterable[str]) -> Iterator[str]:
    for name in live:
        yield f"{name} is live: messages are real and cost money"


def _unheard(order: DevOptions, standing: RunningStack, live: Mapping[str, IntegrationConfiguration]) -> Iterator[str]:
    """Yield whose reports cannot arrive, unless the configuration warns of that address itself."""
    address = standing.settings["PUBLIC_BASE_URL"]
    is_told = any(warning.setting == "PUBLIC_BASE_URL" for warning in order.configuration.warnings)
    if is_loopback(address) and not is_told:
        for name in (name for name, one in live.items() if one.card.has_webhooks):
            yield f"{name} cannot reach {address}: its reports will not arrive. Set PUBLIC_BASE_URL"


def _is_usual(folder: Path) -> bool:
    """Tell whether it is the folder everybody looks in, which needs no mention."""
    return folder == Path(".interalpha")


def _next(order: DevOptions, *, is_live: bool) -> Iterator[Text]:
    folder = order.home.folder
    # An example that is sent must not reach a stranger.
    number = "<your own number>" if is_live else "+55 11 98765-4321"
    elsewhere = "" if _is_usual(folder) else f"INTERALPHA_HOME={shlex.quote(str(folder))} "
    ours = f"{elsewhere}{shlex.quote(program())}"
    yield Text("  Next, in another terminal:")
    yield Text(f'    {ours} send sms "{number}" "Olá, Ana!"', style="cyan")
    yield Text(f"    {ours} token", style="cyan")
    yield Text("  Ctrl-C ends everything.")


async def follow(standing: RunningStack, out: Console) -> None:
    """Print every change until cancelled; while the API is away it is simply asked again."""
    address, token = f"http://{LOOPBACK}:{standing.settings['PORT']}", development_token(standing.settings)
    while True:
        try:
            async with connect(address, token) as api:
                async for data in api.follow(CHANGES, {}):
                    change = data["messageStatusChanged"]
                    # A tenth of a second of being on its way is noise.
                    if change["event"]["status"] != "SENDING":
                        text = change_line(change)
                        name_zone(lambda words: out.print(f"  {words}"))
                        out.print(text)
        except Failure:
            # Its end has been told, and so will be its return; there is nothing to add.
            pass
        await asyncio.sleep(_PAUSE_SECONDS)
