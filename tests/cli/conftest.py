"""One `interalpha dev` for all tests that only talk to it."""

from collections.abc import Callable, Iterator
from subprocess import CompletedProcess

import pytest

from tests.cli.running import Dev, interalpha, running_dev

Run = Callable[..., "CompletedProcess[str]"]


@pytest.fixture(scope="session")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    with running_dev(tmp_path_factory.mktemp("dev") / "data") as running:
        yield running


@pytest.fixture
def run(dev: Dev) -> Run:
    """Run a command in another terminal, beside the running `dev`."""
    return lambda *arguments, **extra: interalpha(dev.folder, *arguments, **extra)
