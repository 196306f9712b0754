"""The running system, used by Node programs with client libraries from npm."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from core.access.sessions import DevelopmentTokens
from devkit.pages import Npm, find_npm
from tests.databases import SharedStores
from tests.helpers import until
from tests.house.sources import ROOT
from tests.node_programs import install, is_open, node, run_program
from tests.running_system import Process, System, command, phone, running_system
from tests.servers import free_port

__all__ = ["phone"]

HERE = Path(__file__).parent
SHORT_SECONDS = 6
_RUN_SECONDS = 120

Results = Callable[[str], Awaitable[dict[str, str]]]


@pytest.fixture(scope="session")
async def npm() -> Npm:
    """npm with the clients installed; without npm the tests fail."""
    found = find_npm(ROOT)
    await install(found, HERE)
    return found


@pytest.fixture(scope="session")
async def system(stores: SharedStores, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[System]:
    async with running_system(stores, tmp_path_factory.mktemp("conformance")) as running:
        yield running


@pytest.fixture(scope="session")
async def closed_address(system: System, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """The address of a server without introspection, as in production."""
    port, log = free_port(), tmp_path_factory.mktemp("production") / "api.log"
    production = {
        "APP_ENV": "production",
        "PUBLIC_BASE_URL": f"http://127.0.0.1:{port}",
        "CLERK_AUTHORIZED_PARTIES": f"http://127.0.0.1:{port}",
        "CLERK_PERSONAL_TENANT": "refuse",
    }
    api = Process(command("serve", "--port", str(port)), {**system.environment, **production}, log)
    await api.start()
    address = f"http://127.0.0.1:{port}"
    try:
        await until(lambda: is_open(port), bool, 30)
        yield f"{address}/graphql"
    finally:
        assert await api.end() == 0, log.read_text()


@pytest.fixture
def results(npm: Npm, system: System) -> Results:
    """A function that runs a program of this folder and returns the result of each of its checks."""
    return lambda program: results_of(npm, program, f"{system.base}/graphql", system.token)


async def results_of(npm: Npm, program: str, address: str, token: str = "") -> dict[str, str]:
    environment = {
        **npm.environment,
        "GRAPHQL_URL": address,
        "TOKEN": token,
        "SHORT_TOKEN": DevelopmentTokens(b"k" * 32).make(lifetime=SHORT_SECONDS),
        "SHORT_SECONDS": str(SHORT_SECONDS),
        "NUMBERS": str(1_000 * sum(map(ord, program))),
    }
    found: dict[str, Any] = json.loads(await run_program([node(npm), program], HERE, environment, _RUN_SECONDS))
    return {name: str(result) for name, result in found.items()}
