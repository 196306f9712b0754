"""What `serve` and `worker` do before they start: refuse a wrong configuration, warn of a small one, set up the log."""

import structlog

from api.cli import check
from api.cli.calling import screen
from api.cli.failures import Exit, Failure
from api.cli.surroundings import own_environment
from api.configuration import Configuration, load_configuration
from api.logs import configure_logging
from core.settings import State


def prepare() -> Configuration:
    """Return a configuration that suffices to start; raises Failure, with the table on stderr, for any other."""
    configuration = load_configuration(own_environment())
    core = configuration.core
    if core is None or configuration.problems:
        check.render(configuration, screen(stderr=True))
        raise Failure("Not started: mend what is marked ✗ and start again.", Exit.NOT_CONFIGURED)
    needed = {"DATABASE_URL": core.database_url, "REDIS_URL": core.redis_url, "ENCRYPTION_KEYS": core.encryption_keys}
    if missing := [name for name, value in needed.items() if not value]:
        check.render(configuration, screen(stderr=True))
        remedy = "Set them, or run `interalpha dev`, which brings its own."
        raise Failure(f"Not started: {', '.join(missing)} not set. {remedy}", Exit.NOT_CONFIGURED)
    configure_logging(core.log_level, as_json=core.is_production)
    log = structlog.get_logger(__name__)
    for warning in configuration.warnings:
        log.warning("configuration", detail=str(warning))
    for name, one in configuration.integrations.items():
        if one.state is State.ABSENT and one.card.connect is not None:
            channels = ", ".join(sorted(one.card.channels))
            log.warning("integration_not_configured", integration=name, channels=channels)
    return configuration
