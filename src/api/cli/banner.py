"""What `interalpha dev` says once everything is ready: where things are, and what to type next."""

import shlex
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

from rich.text import Text

from api.cli.surroundings import program
from api.dev.supervisor import Order, Standing
from core.ports import Mode

_WIDTH = 88


def banner(order: Order, standing: Standing) -> Iterator[Text]:
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
    for warning in order.configuration.warnings:
        yield Text.assemble("  ", ("!", "yellow"), f" {warning}")
    yield Text()
    yield from _next(order)
    yield Text()


def explorer_address(order: Order) -> str | None:
    """Return where the Explorer is, unless it is off."""
    core = order.configuration.core
    return f"http://localhost:{order.port}/" if core and core.has_explorer else None


def _places(order: Order, standing: Standing) -> Iterator[tuple[str, str, str]]:
    local, folder, stores = f"http://localhost:{order.port}", order.home.folder, standing.stores
    kept = "until it ends" if order.forget else "kept until `interalpha reset`"
    if explorer := explorer_address(order):
        yield "Explorer", explorer, "GraphiQL, signed in"
    yield "GraphQL", f"{local}/graphql", "HTTP · WebSocket · SSE"
    yield "Health", f"{local}/health/ready", ""
    if standing.simulators:
        yield "Simulators", f"{standing.simulators}/sim/api", "what they saw, and faults on order"
    postgres = f"PostgreSQL {stores.postgres_version}" if stores.app else "PostgreSQL"
    yield postgres, str(folder / "postgres") if stores.app else "DATABASE_URL", f"tables at {standing.revision}"
    valkey = f"Valkey {stores.valkey_version}" if stores.redis else "Redis"
    yield valkey, str(folder / "valkey") if stores.redis else "REDIS_URL", kept if stores.redis else ""
    yield "Worker", "own process", ""
    yield "Logs", str(order.home.logs), ""


def _providers(order: Order, standing: Standing) -> str:
    signs = {Mode.SIMULATED: "○", Mode.SANDBOX: "◐", Mode.LIVE: "●"}
    spoken = {name: one for name, one in order.configuration.integrations.items() if one.card.connect is not None}
    modes = {name: Mode.SIMULATED if name in standing.simulated else one.mode for name, one in spoken.items()}
    shown = "  ".join(f"{name} {signs[mode] if mode else '–'}" for name, mode in modes.items())
    return f"{shown}     ○ simulated  ● live"


def _next(order: Order) -> Iterator[Text]:
    folder = order.home.folder
    # The folder everybody looks in needs no mention.
    elsewhere = "" if folder == Path(".interalpha") else f"INTERALPHA_HOME={shlex.quote(str(folder))} "
    ours = f"{elsewhere}{shlex.quote(program())}"
    yield Text("  Next, in another terminal:")
    yield Text(f'    {ours} send sms "+55 11 98765-4321" "Olá, Ana!"', style="cyan")
    yield Text(f"    {ours} token", style="cyan")
    yield Text("  Ctrl-C ends everything.")
