"""The running system as the world's clients see it: Node programs, each a client library from npm, against it."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from core.access.development_tokens import DevelopmentTokens
from devkit.pages import Npm, find_npm
from tests.databases import SharedStores
from tests.flows.conftest import Process, System, command, phone, running_system
from tests.helpers import until
from tests.house.sources import ROOT
from tests.servers import free_port

__all__ = ["phone"]

HERE = Path(__file__).parent
SHORT_SECONDS = 6
_INSTALL_SECONDS = 300
_RUN_SECONDS = 120

Results = Callable[[str], Awaitable[dict[str, str]]]


async def npm_run(npm: Npm, folder: Path, *arguments: str) -> None:
    """Run npm, and say what it said where it fails."""
    await finished([*npm.command, *arguments], folder, npm.environment, _INSTALL_SECONDS)


async def finished(arguments: list[str], folder: Path, environment: Mapping[str, str], seconds: float) -> bytes:
    """Run a program to its end; gives what it printed."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *arguments, cwd=folder, env=environment, stdin=asyncio.subprocess.DEVNULL, stdout=pipe, stderr=pipe
    )
    try:
        printed, said = await asyncio.wait_for(process.communicate(), seconds)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, f"{arguments}\n{printed.decode()}\n{said.decode()}"
    return printed


async def install(npm: Npm, folder: Path) -> None:
    """Fill a project's node_modules from its lock, unless it is filled; what packages want to run is not run."""
    mark = folder / "node_modules" / ".package-lock.json"
    if not mark.exists() or mark.stat().st_mtime < (folder / "package-lock.json").stat().st_mtime:
        await npm_run(npm, folder, "ci", "--ignore-scripts", "--no-audit", "--no-fund")
        mark.touch()


@pytest.fixture(scope="session")
async def npm() -> Npm:
    """npm, with the clients installed; there is no skipping where there is none."""
    found = find_npm(ROOT)
    await install(found, HERE)
    return found


def node(npm: Npm) -> str:
    """The Node that npm runs on: the fetched one is called by its path, the other is found beside npm."""
    return "node" if len(npm.command) == 1 else npm.command[0]


@pytest.fixture(scope="session")
async def system(stores: SharedStores, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[System]:
    async with running_system(stores, tmp_path_factory.mktemp("conformance")) as running:
        yield running


@pytest.fixture(scope="session")
async def closed_address(system: System, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """The same house as strangers find it in production: nobody reads the schema."""
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


async def is_open(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


@pytest.fixture
def results(npm: Npm, system: System) -> Results:
    """Run one of the programs beside this file; gives what it says of each of its checks."""
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
    found: dict[str, Any] = json.loads(await finished([node(npm), program], HERE, environment, _RUN_SECONDS))
    return {name: str(result) for name, result in found.items()}
