"""`interalpha serve`, `worker` and `simulators`: the processes of an installation."""

import socket
import time

import rich_click as click
import structlog

from api.cli import check
from api.cli.environment import own_environment, port_from
from api.cli.options import Port
from api.cli.terminal import Exit, Failure, screen
from api.configuration import Configuration, load_configuration
from api.logs import configure_logging
from core.settings import State
from integrations.simulating.server import main

COMMANDS = {
    "serve": ("serve_command", "Run the API (production).", 10),
    "worker": ("worker_command", "Run a worker (production).", 20),
    "simulators": ("simulators_command", None, 0),
}


def load_configuration_for_start() -> Configuration:
    """Return a configuration that suffices to start; raises Failure, with the table on stderr, for any other."""
    configuration = load_configuration(own_environment())
    core = configuration.core
    if core is None or configuration.problems:
        check.render(configuration, screen(stderr=True))
        raise Failure("Not started. Fix the lines marked ✗, then start again.", Exit.NOT_CONFIGURED)
    needed = {"DATABASE_URL": core.database_url, "REDIS_URL": core.redis_url, "ENCRYPTION_KEYS": core.encryption_keys}
    if missing := [name for name, value in needed.items() if not value]:
        check.render(configuration, screen(stderr=True))
        remedy = "Set them, or run `interalpha dev`, which starts its own stores."
        raise Failure(f"Not started: {', '.join(missing)} not set. {remedy}", Exit.NOT_CONFIGURED)
    configure_logging(core.log_level, as_json=core.is_production)
    log = structlog.get_logger(__name__)
    for warning in configuration.warnings:
        log.warning("configuration", detail=str(warning))
    carried = {channel for channel, one in configuration.carriers.items() if one.integration.is_configured}
    for name, one in configuration.integrations.items():
        if one.state is State.ABSENT and one.card.connect is not None:
            channels = ", ".join(sorted(one.card.channels - carried))
            if one.card.channels and not channels:
                continue
            log.warning("integration_not_configured", integration=name, channels=channels)
    return configuration


# Checks that a port is free before a server is started on it.


_PATIENCE_SECONDS = 0.5


def ensure_port_free(host: str, port: int, remedy: str) -> None:
    """Raise Failure when the port cannot be listened on; one that an ended process just held gets a moment."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
            with socket.socket(family) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind((host, port))
                return
        except OSError as error:
            if time.monotonic() > deadline:
                raise Failure(f"Port {port} of {host} cannot be used: {error.strerror}. {remedy}") from None
        time.sleep(0.02)


# `interalpha serve`: runs the API, as in production.


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on; 0.0.0.0 is all.")
@click.option("--port", type=Port(), help="The port (default: PORT, or 8000).")
def serve_command(host: str, port: int | None) -> None:
    """Run the API until told to end; SIGTERM lets it finish what it has begun.

    Starts only with a complete configuration; `interalpha check` shows it. Run `interalpha worker` beside it.
    """
    configuration = load_configuration_for_start()
    chosen = port_from(own_environment(), port)
    ensure_port_free(host, chosen, "Give another: --port 8100.")
    # Here, because it takes seconds: a refusal should come at once.
    from api.http.server import run

    try:
        run(configuration, host=host, port=chosen)
    except KeyboardInterrupt:
        return  # uvicorn hands Ctrl-C on once it has ended in order


# `interalpha worker`: delivers messages and applies webhooks, as in production.


@click.command()
def worker_command() -> None:
    """Run a worker until told to end; SIGTERM lets it finish what it has begun. Run as many as you like.

    Starts only with a complete configuration; `interalpha check` shows it.
    """
    configuration = load_configuration_for_start()
    # Here, because it takes seconds: a refusal should come at once.
    from api.worker.process import run

    run(configuration)


# `interalpha simulators`: runs only the simulators.


@click.command()
def simulators_command() -> None:
    """Run the simulated providers until SIGTERM; prints their addresses as one line of JSON."""
    raise SystemExit(main())
