"""The running system with a toy noun and a toy provider, which no file of the product names."""

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from tests.databases import SharedStores
from tests.extension import with_toy
from tests.running_system import System, running_system

SECRET = "toysecrettoysecret"


@pytest.fixture(scope="session")
async def system(stores: SharedStores, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[System]:
    program = [sys.executable, str(Path(with_toy.__file__))]
    settings = {"PARCELPOST_WEBHOOK_SECRET": SECRET, "PARCELPOST_DEPOT": "SANTOS"}
    folder = tmp_path_factory.mktemp("toy")
    async with running_system(
        stores, folder, program=program, prepare=_add_tables, is_calm=False, **settings
    ) as running:
        yield running


async def _add_tables(direct: str) -> None:
    """What the noun's migration does; the roles and row-level security are those of every table with a tenant."""
    owner = await asyncpg.connect(direct)
    await owner.execute((with_toy.TOY / "schema.sql").read_text())
    await owner.close()
