"""One `interalpha dev` for all tests that only talk to it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from api.cli import interalpha as program
from tests.cli.processes import Dev, Run, running_dev

KEYS = ("INTERALPHA_API_KEY", "INTERALPHA_API_KEY_FILE")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whatever needs `dev` is slow: each process that tests starts the whole system for it."""
    for item in items:
        if isinstance(item, pytest.Function) and "dev" in item.fixturenames:
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    with running_dev(tmp_path_factory.mktemp("dev") / "data") as running:
        yield running


@pytest.fixture
def run(dev: Dev, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Run a command beside the running `dev`; in this process, since importing it all takes longer than it does."""
    monkeypatch.chdir(tmp_path)
    for name in ("APP_ENV", "PORT", "DATABASE_URL", "DATABASE_URL_DIRECT", "REDIS_URL", "ENCRYPTION_KEYS", *KEYS):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("INTERALPHA_HOME", str(dev.folder))

    def invoke(*arguments: str) -> Result:
        result = CliRunner().invoke(program, arguments)
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result

    return invoke
