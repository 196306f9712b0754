"""A server of Twilio's published contract."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest

from devkit.pages import find_npm
from tests.helpers import until
from tests.house.sources import ROOT
from tests.node_programs import install, is_open, node
from tests.servers import free_port

CONTRACT = Path(__file__).parent / "twilio"
_PRISM = "node_modules/@stoplight/prism-cli/dist/index.js"


@pytest.fixture(scope="session")
async def twilio_contract(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """The address at which Prism serves Twilio's published contract and refuses what it does not allow."""
    npm = find_npm(ROOT)
    await install(npm, CONTRACT)
    port, log = free_port(), tmp_path_factory.mktemp("prism") / "prism.log"
    arguments = (_PRISM, "mock", "--host", "127.0.0.1", "--port", str(port), "--errors", "openapi.json")
    with log.open("wb") as printed:
        prism = await asyncio.create_subprocess_exec(
            node(npm), *arguments, cwd=CONTRACT, env=npm.environment, stdout=printed, stderr=printed
        )
    try:
        try:
            await until(lambda: is_open(port), bool, 60)
        except AssertionError:
            raise AssertionError(log.read_text()) from None
        yield f"http://127.0.0.1:{port}"
    finally:
        with suppress(ProcessLookupError):
            prism.kill()
        await prism.wait()
