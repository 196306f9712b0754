"""The commands that devkit adds to `interalpha`. Their modules are imported when they are used."""

from api.cli.commands import Deferred

dev = Deferred(
    "dev",
    "devkit.commands:dev_command",
    short_help="Run everything on this machine: API, worker, stores, simulated providers.",
)
reset = Deferred(
    "reset", "devkit.commands:reset_command", short_help="Remove what `interalpha dev` keeps on this machine."
)
