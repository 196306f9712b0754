"""The stores of this run, and databases in them, made by the migrations."""

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit
from uuid import uuid4

import asyncpg

from devkit.embedded.stores import StoreUrls


@dataclass(frozen=True)
class Urls:
    """One database, by each role."""

    app: str
    worker: str
    direct: str
    superuser: str
    redis: str


@dataclass(frozen=True)
class SharedStores:
    """The stores of this run."""

    urls: StoreUrls
    superuser: str

    async def execute(self, statement: str) -> None:
        connection = await asyncpg.connect(self.superuser)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    def named(self, name: str) -> Urls:
        def renamed(url: str) -> str:
            return urlsplit(url)._replace(path=f"/{name}").geturl()

        app, worker, direct = self.urls.app, self.urls.worker, self.urls.direct
        return Urls(renamed(app), renamed(worker), renamed(direct), renamed(self.superuser), self.urls.redis)

    @asynccontextmanager
    async def database(self) -> AsyncIterator[Urls]:
        """Create a migrated database and drop it afterwards."""
        name = f"test_{uuid4().hex}"
        await self.execute(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE_DATABASE} OWNER interalpha_migrate")
        try:
            yield self.named(name)
        finally:
            await self.execute(f"DROP DATABASE {name} WITH (FORCE)")


ENCRYPTION_KEY = base64.b64encode(b"k" * 32).decode()


TEMPLATE_DATABASE = "interalpha_template"
