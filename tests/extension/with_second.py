"""Runs `interalpha` with a second provider for SMS, in a folder beside the product's own."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import integrations
from api import configuration
from integrations.registry import all_integrations

SECOND = str(Path(__file__).parent / "second" / "integrations")
TOKEN = "couriercourierco"
SETTINGS = {"COURIER_TOKEN": TOKEN, "COURIER_SENDER": "LOJA"}


def _forget_known() -> None:
    for known in (all_integrations, configuration.known_names, configuration._providers):
        known.cache_clear()


@contextmanager
def second_provider() -> Iterator[None]:
    """Let this process know the second provider meanwhile."""
    integrations.__path__.append(SECOND)
    _forget_known()
    try:
        yield
    finally:
        integrations.__path__.remove(SECOND)
        _forget_known()


if __name__ == "__main__":
    integrations.__path__.append(SECOND)
    from api.cli import main

    main()
